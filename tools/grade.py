"""Grade what students handed in: `python tools/grade.py SUBMISSIONS OUT.csv`.

SUBMISSIONS/<student>/<notebook>.ipynb -> OUT.csv, and one page of feedback each in the folder OUT-feedback. Points come
from nbgrader's autograde; what is ours is that a submission's kernel runs in a sandbox and under limits, so that no
submission reaches the grades, the hidden checks on disk, another student's work or the network, or stops the others.
What is prevented and what is not: notebooks/homework/README.md.
"""

from __future__ import annotations

import argparse
import csv
import html
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil
from homework import LECTURE, ROOT, assign

LIMITS = {"seconds": int(os.environ.get("GRADE_SECONDS", 240)), "cell": int(os.environ.get("GRADE_CELL", 60)),
          "memory": 3_000_000_000, "processes": 64, "output": 20_000_000, "file": 20_000_000}  # bytes


def sandboxed() -> bool:
    """Whether this machine lets a submission be shut in (Linux with user namespaces)."""
    with tempfile.TemporaryDirectory() as scratch:
        settings = {**os.environ, "SCRATCH": scratch, "READ": "", "SANDBOX": "full"}
        try:
            return subprocess.run(["sh", ROOT / "tools" / "sandbox.sh", "true"], env=settings,
                                  capture_output=True).returncode == 0
        except OSError:
            return False


def readable() -> list[str]:
    """What a submission may read: Python, the package, results and checkpoints. No notebook, test, history or home."""
    folders = [ROOT / "course_utils", ROOT / "data" / "results", ROOT / "data" / "checkpoints", sys.prefix,
               sys.base_prefix]
    return list(dict.fromkeys(path for f in folders for path in (os.path.abspath(f), os.path.realpath(f))))


def kernel_settings(place: Path, sandbox: bool) -> dict[str, str]:
    """The environment of one submission's grading; writes the kernel that nbgrader will start into `place`.

    None of the caller's settings comes in: all submissions run at the smoke profile, on the CPU, on the embedded sets.
    """
    scratch, spec = place / "kernel", place / "jupyter" / "kernels" / "python3"
    scratch.mkdir()
    spec.mkdir(parents=True)
    own = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "OMP_NUM_THREADS": 1, "PYTHONPATH": ROOT,
           "COURSE_PROFILE": "smoke", "COURSE_DEVICE": "cpu", "READ": "\n".join(readable()),
           "SANDBOX": "full" if sandbox else "none"}
    own |= dict.fromkeys(("SCRATCH", "HOME", "TMPDIR", "IPYTHONDIR", "MPLCONFIGDIR"), scratch)
    start = ["env", "-i", *(f"{name}={value}" for name, value in own.items()), "sh", str(ROOT / "tools" / "sandbox.sh")]
    python = [sys.executable, "-m", "ipykernel_launcher", "--HistoryManager.enabled=False", "-f", "{connection_file}"]
    kernel = {"argv": [*start, *python], "display_name": "Python 3", "language": "python", "interrupt_mode": "message"}
    (spec / "kernel.json").write_text(json.dumps(kernel), encoding="utf-8")
    return {**os.environ, "JUPYTER_PATH": str(place / "jupyter"), "TMPDIR": str(scratch)}


def grade(student: str, handed_in: Path, assignment: Path, place: Path, sandbox: bool) -> dict:
    """One notebook of one student, in a process and folder of its own: points by exercise, remark, feedback page.

    assignment: the nbgrader folder with its gradebook, which is copied, so that nothing is shared.
    """
    nothing = {"points": {}, "page": "", "seconds": 0.0}
    if not handed_in.is_file():
        return {**nothing, "remark": "no notebook handed in"}
    if handed_in.stat().st_size > LIMITS["file"]:
        return {**nothing, "remark": f"the notebook is larger than {LIMITS['file'] / 1e6:.0f} MB"}
    try:
        nbformat.validate(nbformat.read(handed_in, as_version=4))
    except Exception as error:  # whatever a file can do to a parser: it must not stop the others
        return {**nothing, "remark": f"not a notebook ({type(error).__name__}: {str(error).splitlines()[0][:100]})"}
    shutil.copytree(assignment, place / "course")
    (place / "course" / "submitted" / student / handed_in.stem).mkdir(parents=True)
    shutil.copyfile(handed_in, place / "course" / "submitted" / student / handed_in.stem / handed_in.name)
    command = [sys.executable, ROOT / "tools" / "autograde.py", place / "course", student, handed_in.stem]
    start = time.perf_counter()
    settings = {**kernel_settings(place, sandbox), "LIMITS": json.dumps(LIMITS)}
    process = subprocess.Popen(command, env=settings, cwd=place / "kernel", stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True)
    try:
        said, errors = process.communicate(timeout=LIMITS["seconds"] + 120)
    except subprocess.TimeoutExpired:
        family = psutil.Process(process.pid)
        for one in [*family.children(recursive=True), family]:
            one.kill()
        return {**nothing, "remark": "grading took too long and was stopped"}
    if process.returncode:
        why = (errors.strip().splitlines() or ["killed"])[-1]
        return {**nothing, "remark": f"could not be graded: {why[:200]}"}
    return {**json.loads(said.splitlines()[-1]), "seconds": time.perf_counter() - start}


def write(results: dict, exercises: dict[str, dict[str, float]], out: Path) -> None:
    """results: {(student, notebook): what `grade` returns}; exercises: {notebook: {exercise: points}}."""
    pages = out.with_name(f"{out.stem}-feedback")
    columns = [(notebook, name) for notebook, points in exercises.items() for name in points]
    with out.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["student", *(f"{notebook[:2]} {name}" for notebook, name in columns), "total", "of", "remark"])
        for student in sorted({student for student, _ in results}):
            found = [results[student, notebook]["points"].get(name, 0) for notebook, name in columns]
            remarks = [f"{notebook[:2]}: {results[student, notebook]['remark']}" for notebook in exercises
                       if results[student, notebook]["remark"]]
            most = sum(sum(points.values()) for points in exercises.values())
            table.writerow([student, *found, sum(found), most, "; ".join(remarks)])
    for (student, notebook), result in results.items():
        page = result["page"] or f"<!doctype html><meta charset=utf-8><p>{html.escape(result['remark'])}</p>"
        (pages / student).mkdir(parents=True, exist_ok=True)
        (pages / student / f"{notebook}.html").write_text(page, encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("submissions", type=Path, help="a folder with one folder for each student")
    parser.add_argument("out", type=Path, help="the table to write, .csv")
    parser.add_argument("--lecture", type=Path, default=LECTURE, help="the folder of the lecture edition")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="submissions at a time")
    options = parser.parse_args(arguments)
    students = sorted(folder for folder in options.submissions.iterdir() if folder.is_dir())
    lectures = [path for path in sorted(options.lecture.glob("0*.ipynb"))
                if any((student / path.name).exists() for student in students)]
    if not lectures:
        sys.exit(f"{options.submissions} holds no <student>/<notebook>.ipynb with the name of a notebook of the course")
    sandbox = sandboxed()
    if not sandbox:
        print("No sandbox on this machine (it needs Linux with user namespaces): submissions run with your rights and "
              "your network, under limits of time, memory, processes and output only.")
    with tempfile.TemporaryDirectory(prefix="grade") as scratch, ThreadPoolExecutor(options.workers) as pool:
        scratch, jobs, exercises = Path(scratch).resolve(), {}, {}
        for lecture in lectures:
            exercises[lecture.stem] = points_of(assign(lecture, scratch / lecture.stem))
        for number, (folder, lecture) in enumerate((s, path) for s in students for path in lectures):
            (scratch / str(number)).mkdir()
            jobs[folder.name, lecture.stem] = pool.submit(grade, folder.name, folder / lecture.name,
                                                          scratch / lecture.stem, scratch / str(number), sandbox)
        results = {}
        for (student, notebook), job in jobs.items():
            results[student, notebook] = result = job.result()
            print(f"{student} {notebook}: {sum(result['points'].values()):g} points, {result['seconds']:.0f} s "
                  f"{result['remark']}", flush=True)
    write(results, exercises, options.out)


def points_of(release: Path) -> dict[str, float]:
    """The points of each exercise of a student edition, by its name."""
    graded = [cell["metadata"].get("nbgrader", {}) for cell in json.loads(release.read_text("utf-8"))["cells"]]
    return {about["grade_id"].removesuffix("-check"): about["points"] for about in graded if about.get("grade")}


if __name__ == "__main__":
    main()
