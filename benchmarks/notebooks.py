"""Minutes of each notebook from top to bottom, beside the speed that the doctor measures on the same machine.

    python benchmarks/notebooks.py [--out data/results] [NOTEBOOK …]

Writes notebook-minutes.json, from which `python -m course_utils doctor` says how long the notebooks take elsewhere.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from course_utils import doctor, scoreboard, setup

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def minutes(notebook: Path) -> float:
    """How long it takes to execute a notebook."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook", "--log-level", "WARN",
                        "--ExecutePreprocessor.timeout=600", "--output-dir", folder, notebook], check=True)
    return (time.perf_counter() - started) / 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(NOTEBOOKS.glob("0*.ipynb")))
    parser.add_argument("--out", type=Path, default=scoreboard.SHIPPED)
    args = parser.parse_args()
    course, rows, speeds = setup(), [], [doctor.speed()]
    for notebook in args.notebooks:
        rows.append({"notebook": notebook.stem, "quantity": "minutes", "value": minutes(notebook), "low": None,
                     "high": None, "n": 1, "seeds": 1})
        speeds.append(doctor.speed())
        print(f"{notebook.stem}: {rows[-1]['value']:.1f} min, {speeds[-1]:,.0f} images/s", flush=True)
    scoreboard.record("notebook-minutes", rows, title="Minutes of each notebook from top to bottom",
                      profile=course.profile, source="the committed notebooks", folder=args.out,
                      images_per_second=round(statistics.median(speeds), 1))


if __name__ == "__main__":
    main()
