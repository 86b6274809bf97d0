"""What experiments of several trainings share: the sets, a memory of finished runs, rows of means over seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .. import checkpoints, datasets
from ..files import whole_file
from ..intervals import mean_interval, wilson_interval
from ..settings import Course


@dataclass(frozen=True)
class Sets:
    """Images to train encoder and probe on, val for settings, test for the report."""

    train: datasets.ImageSet
    val: datasets.ImageSet
    test: datasets.ImageSet


def load_sets(course: Course) -> Sets:
    """CIFAR-10: 10,000 training images on a laptop, all on a GPU."""
    limits = {"train": course.pick(smoke=256, laptop=10_000, gpu=None),
              "val": course.pick(smoke=100, laptop=2_500, gpu=None),
              "test": course.pick(smoke=100, laptop=None, gpu=None)}
    return Sets(**{split: datasets.load("cifar10", split, limit=limit) for split, limit in limits.items()})


def once(course: Course, experiment: str, run: dict, compute: Callable[[], Any]) -> Any:
    """compute(), or what it gave when this `run` (its settings) was last finished: an experiment cut off goes on there.

    run: all that the result depends on beside the profile. It and the result must be what JSON can hold. Kept in
    data/runs/experiments/<experiment>; delete that folder to measure anew, after a change of the code, say.
    """
    run = {"profile": course.profile, **run}
    name = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]
    path = checkpoints.DATA / "runs" / "experiments" / experiment / f"{course.profile}-{name}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))["found"]
    text = json.dumps({"run": run, "found": compute()}, indent=1)
    with whole_file(path) as temporary:  # a run that is cut off leaves no half a result
        temporary.write_text(text + "\n", encoding="utf-8")
    print(f"{experiment}: {run}", flush=True)
    return json.loads(text)["found"]  # as it will be read: keys of dicts become strings


def rows(about: dict, runs: Iterable[dict[str, float] | None], n: int | dict[str, int],
         quantities: Iterable[str] | None = None, accuracies: bool = True) -> list[dict]:
    """One row for each quantity: the mean over runs and its t-interval; for a single run Wilson's, if accuracies.

    accuracies: whether the quantities lie between 0 and 1, like an accuracy or an AUC; their intervals do, too.
    n: the cases behind a value, one number or one for each quantity; quantities: all that a run holds, or only these.
    Runs that are None, since they diverged, are left out: `seeds` tells how many are not.
    """
    runs, found = [run for run in runs if run is not None], []
    for quantity in (quantities or runs[0]) if runs else ():
        values = [run[quantity] for run in runs]
        cases = n[quantity] if isinstance(n, dict) else n
        low, high = mean_interval(values, 0, 1) if accuracies else mean_interval(values)
        if len(values) == 1 and accuracies:
            low, high = wilson_interval(values[0], cases)
        found.append({**about, "quantity": quantity, "value": sum(values) / len(values), "low": low, "high": high,
                      "n": cases, "seeds": len(values)})
    return found
