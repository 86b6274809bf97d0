"""One short file per table or figure: `TITLE` and `run(course) -> (rows, settings, source)`.

Rows are as `scoreboard.record` takes them. Run one with `python -m course_utils experiment NAME`; names have dashes
where the files have underscores.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from .. import scoreboard
from ..settings import Course

NOT_TABLES = ("pretrain", "runs", "simclr_runs", "moco_runs", "transfusion_runs", "transfusion_starts",
              "transfusion_table")  # recipes and what runs share


def names() -> list[str]:
    """The experiments that `run` knows."""
    return sorted(info.name.replace("_", "-") for info in pkgutil.iter_modules(__path__) if info.name not in NOT_TABLES)


def run(name: str, course: Course, folder: str | Path = scoreboard.OWN) -> Path:
    """Measure the experiment `name` and write its result file into `folder`; ValueError for an unknown name."""
    if name not in names():
        raise ValueError(f"unknown experiment {name!r}; there are: {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    rows, settings, source = module.run(course)
    return scoreboard.record(name, rows, title=module.TITLE, profile=course.profile, source=source, folder=folder,
                             **settings)
