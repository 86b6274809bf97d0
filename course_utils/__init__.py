"""Self-supervised vision, small enough to read in an evening. One idea, one file; the README has a reading order.

Submodules load on first use, so that `import course_utils` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .settings import Course as Course

_SUBMODULES = ("augment", "checkpoints", "datasets", "encoders", "evaluation", "experiments", "losses", "methods",
               "plots", "scoreboard", "settings", "training", "widgets")
__all__ = ["Course", "setup", *_SUBMODULES]


def __getattr__(name: str):
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in ("setup", "Course"):
        return getattr(importlib.import_module(f"{__name__}.settings"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
