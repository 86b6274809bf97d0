"""Results that outlive a notebook: one JSON file per experiment, from which every number in the course is read.

data/results holds what the course ships; data/runs/results (ignored by git) a student's own runs, drawn beside them.
"""

from __future__ import annotations

import json
import math
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from .checkpoints import DATA, machine
from .files import whole_file

if TYPE_CHECKING:
    import pandas

SHIPPED, OWN = DATA / "results", DATA / "runs" / "results"
REQUIRED = ("value", "low", "high", "n", "seeds")


def record(experiment: str, rows: list[dict], *, title: str, profile: str, source: str, folder: str | Path = OWN,
           **settings) -> Path:
    """Write an experiment's result file, replacing the one before it, and return its path.

    rows: one dict per measured number, with value, low and high (the 95 % interval; None where there is none), n (test
    cases), seeds (runs), and whatever tells it from the others. source: the set's source line. settings: everything
    else one needs to repeat it. Raises ValueError for a row without these, or with a value that is not finite.
    """
    rows = [_plain(row) for row in rows]
    for row in rows:
        missing = [key for key in REQUIRED if key not in row]
        counts = (row.get("n"), row.get("seeds"))
        if (missing or not isinstance(row["value"], (int, float))
                or not all(isinstance(count, int) and count > 0 for count in counts)):
            raise ValueError(f"a result needs a finite value and {', '.join(REQUIRED[1:])}; got {row}")
    content = {"experiment": experiment, "title": title, "profile": profile, "source": source, "settings": settings,
               "machine": machine(), "date": date.today().isoformat(), "rows": rows}
    path = Path(folder) / f"{experiment}.json"
    lines = [json.dumps(row, allow_nan=False, ensure_ascii=False) for row in content.pop("rows")]  # small, and to diff
    about = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False).removesuffix("\n}")
    with whole_file(path) as temporary:  # two notebooks at once never leave half a file
        temporary.write_text(f'{about},\n "rows": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")
    return path


def _plain(row: dict) -> dict:
    """The row with numbers that JSON can hold: four decimals, None for an interval that does not exist."""
    row = {key: value.item() if hasattr(value, "item") else value for key, value in row.items()}
    return {key: (None if not math.isfinite(value) else round(value, 4)) if isinstance(value, float) else value
            for key, value in row.items()}


def table(experiment: str, folder: str | Path | None = None) -> pandas.DataFrame:
    """All rows of an experiment, shipped ones first, then the student's own (column `own`), with the profile of each.

    `.attrs` holds title, source, settings, machine and date. Raises FileNotFoundError, with what to run, where there
    are none.
    """
    import pandas

    places = [(folder, False)] if folder else [(SHIPPED, False), (OWN, True)]
    files = [(Path(place) / f"{experiment}.json", own) for place, own in places]
    frames, attributes = [], {}
    for path, own in files:
        if path.exists():
            content = json.loads(path.read_text(encoding="utf-8"))
            frames.append(pandas.DataFrame(content["rows"]).assign(profile=content["profile"], own=own))
            attributes = attributes or {key: value for key, value in content.items() if key != "rows"}
    if not frames:
        raise FileNotFoundError(f"no results for {experiment!r}; make them with: "
                                f"python -m course_utils experiment {experiment}")
    both = pandas.concat(frames, ignore_index=True)
    both.attrs = attributes
    return both


def select(results: pandas.DataFrame, **where) -> pandas.Series:
    """The one shipped row (own=True: the student's) whose columns have these values; KeyError where it is not one."""
    rows = results
    for key, value in ({"own": False} | where).items():
        rows = rows[rows[key] == value]
    if len(rows) != 1:
        raise KeyError(f"{len(rows)} rows match {where}; there should be exactly one")
    return rows.iloc[0]


def cite(results: pandas.DataFrame, **where) -> str:
    """One number as a reader may quote it: value, interval, n, seeds and profile."""
    row = select(results, **where)
    there = row["low"] is not None and row["low"] == row["low"]  # NaN, where pandas made one of None, is not itself
    interval = f"95 % interval {row['low']:.3f}–{row['high']:.3f}" if there else "no interval"
    runs = "one run" if row["seeds"] == 1 else f"{row['seeds']} seeds"
    return f"{row['value']:.3f} ({interval}, n = {row['n']:,}, {runs}, {row['profile']} profile)"


def caption(results: pandas.DataFrame) -> str:
    """One line under a table or figure (its shipped rows, if any): set, n, seeds, profile, machine, date."""
    def span(values) -> str:
        return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,}–{max(values):,}"

    about = results.attrs
    results = results if results["own"].all() else results[~results["own"]]
    bank = f"bank {span(results['bank'])}; " if "bank" in results else ""
    return (f"{about['source']}; {bank}n = {span(results['n'])} test cases; seeds: {span(results['seeds'])}; "
            f"95 % intervals;\n"
            f"{about['profile']} profile, {about['machine']}, {about['date']}.")


def experiments() -> list[str]:
    """The names of all experiments with results, shipped or own."""
    return sorted({path.stem for folder in (SHIPPED, OWN) for path in folder.glob("*.json")})
