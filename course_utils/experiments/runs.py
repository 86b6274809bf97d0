"""Experiments that resume: a finished run's result is kept on the disk, and not measured again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable

from .. import checkpoints


def once(experiment: str, settings: dict, measure: Callable[[], dict]) -> dict:
    """The result of `measure()`, from data/runs/experiments/<experiment>/ where it was measured before.

    settings: all that the result depends on (profile, seed, …); any other value makes another run. Settings and result
    must be what JSON can hold. Delete the folder to measure anew, after a change of the code, say.
    """
    text = json.dumps(settings, sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = checkpoints.DATA / "runs" / "experiments" / experiment / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))["result"]
    content = json.dumps({"settings": settings, "result": measure()}, indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{name}.{os.getpid()}.tmp")
    temporary.write_text(content + "\n", encoding="utf-8")
    os.replace(temporary, path)  # a run that is cut off leaves no half a result
    return json.loads(content)["result"]
