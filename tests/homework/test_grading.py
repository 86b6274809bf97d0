"""`make grade` on honest, broken and hostile submissions: none stops another, none earns a point it should not."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parent.parent.parent
SECRET = "a line of a hidden check"
RIGHT = {"double": "def double(x):\n    return 2 * x", "triple": "def triple(x):\n    return 3 * x"}


def exercise(name, factor):
    solution = f"def {name}(x):\n    ### BEGIN SOLUTION\n    return {factor} * x\n    ### END SOLUTION"
    check = (f"assert {name}(1) == {factor}, 'wrong for 1'\n### BEGIN HIDDEN TESTS\n"
             f"assert {name}(-2) == -2 * {factor}, '{SECRET}'\n### END HIDDEN TESTS")
    about = {"schema_version": 3, "task": False, "grade_id": f"{name}-solution", "grade": False, "solution": True,
             "locked": False}
    return [new_code_cell(solution, metadata={"nbgrader": about}),
            new_code_cell(check, metadata={"nbgrader": {**about, "grade_id": f"{name}-check", "grade": True,
                                                        "solution": False, "locked": True, "points": 2}})]


def submission(answers=RIGHT, *, before="pass", drop=()):
    """A student's notebook, made as one would: the edition handed out, with these answers in its stubs."""
    cells = [new_code_cell(before)]
    for name, factor in (("double", 2), ("triple", 3)):
        solution, check = exercise(name, factor)
        solution.source = answers.get(name, f"def {name}(x):\n    # your code here\n    raise NotImplementedError()")
        check.source = check.source.split("### BEGIN")[0].strip()
        cells += [cell for cell in (solution, check) if cell.metadata.nbgrader.grade_id not in drop]
    return nbformat.writes(notebook(cells))


def notebook(cells):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def first(code):
    """Right answers, the first of them preceded by this."""
    return submission({**RIGHT, "double": f"{code}\n{RIGHT['double']}"})


LOOK = f'''
import os, pathlib, socket
found = []
for folder, _, files in os.walk("/", onerror=None):
    if not folder.startswith(("/proc", "/sys", "/usr")) and "site-packages" not in folder:
        for name in files:
            if name.endswith((".ipynb", ".db", ".csv", ".py")):
                try:
                    found += [name] * ({SECRET!r} in pathlib.Path(folder, name).read_text(errors="ignore"))
                except OSError:
                    pass
repository = pathlib.Path({str(ROOT)!r})
found += [str(p) for p in (repository / "notebooks", repository / "tests", repository / ".git") if p.exists()]
try:
    socket.create_connection(("127.0.0.1", 22), timeout=1)
    found.append("network")
except OSError as error:
    found += ["network"] * (error.errno not in (99, 101, 111))
try:
    (repository / "course_utils" / "losses.py").open("a").close()
    found.append("the package can be written")
except OSError:
    pass
assert not found, found
'''

# name: the notebook handed in (None: nothing), the points it should get, a word of the remark
SUBMISSIONS = {
    "honest": (submission(), 4, ""),
    "blank": (submission({}), 0, "NotImplementedError"),
    "half": (submission({**RIGHT, "triple": "def triple(x):\n    return 3 * abs(x)"}), 2, f"AssertionError: {SECRET}"),
    "endless": (first("while True: pass"), 2, "NameError"),  # the loop is interrupted, so `double` is never made
    "stubborn": (first("import signal; signal.signal(2, signal.SIG_IGN)\nwhile True: pass"), 0, "s in all"),
    "sys-exit": (first("import sys; sys.exit(0)"), 2, "double: NameError"),
    "os-exit": (submission({**RIGHT, "triple": "import os; os._exit(0)"}), 2, "triple: NotRun"),
    "no-check": (submission({**RIGHT, "double": "double = lambda x: 0"}, drop=["double-check"]), 2, "wrong for 1"),
    "no-cell": (submission(drop=["double-solution"]), 2, "double: NameError"),
    "renamed": (submission({**RIGHT, "double": "def twice(x):\n    return 2 * x"}), 2, "NameError: name 'double'"),
    "chatty": (first("for _ in range(1_000_000): print('x' * 1_000)"), 0, "MB of output"),  # 1 GB
    "shout": (first("print('x' * 1_000_000_000)"), 0, "double"),  # the same in one piece
    "curious": (submission(before=LOOK), 4, ""),
    "memory": (first("hog = [b'x' * 50_000_000 for _ in range(1_000)]"), 0, "GB of memory"),
    "forks": (first("import os, time\nfor _ in range(500):\n    if os.fork() == 0: time.sleep(600)"), 0, "processes"),
    "broken": ("{not json", 0, "not a notebook"),
    "nothing": (None, 0, "no notebook handed in"),
    "kernel": (submission().replace('"python3"', '"bash"'), 4, ""),
}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """One run over all of them: what it printed, the rows of its table by student, and the folder of feedback."""
    work = tmp_path_factory.mktemp("grading")
    (work / "lecture").mkdir()
    cells = [new_code_cell("pass"), *exercise("double", 2), *exercise("triple", 3)]
    nbformat.write(notebook(cells), work / "lecture" / "00_mini.ipynb")
    for student, (text, _, _) in SUBMISSIONS.items():
        (work / "submissions" / student).mkdir(parents=True)
        if text is not None:
            (work / "submissions" / student / "00_mini.ipynb").write_text(text, encoding="utf-8")
    settings = {**os.environ, "GRADE_SECONDS": "25", "GRADE_CELL": "8"}
    command = [sys.executable, ROOT / "tools" / "grade.py", work / "submissions", work / "grades.csv", "--lecture",
               work / "lecture", "--workers", "2"]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=400, cwd=work)
    assert done.returncode == 0, done.stderr
    with (work / "grades.csv").open(encoding="utf-8") as file:
        return done.stdout, {row["student"]: row for row in csv.DictReader(file)}, work / "grades-feedback"


def test_nobody_is_left_out(graded):
    _, rows, pages = graded
    assert set(rows) == set(SUBMISSIONS) == {page.parent.name for page in pages.glob("*/00_mini.html")}
    assert {row["of"] for row in rows.values()} == {"4"}


@pytest.mark.parametrize("student", SUBMISSIONS)
def test_points_and_remark(graded, student):
    printed, rows, _ = graded
    _, points, word = SUBMISSIONS[student]
    if student == "curious" and "No sandbox on this machine" in printed:
        pytest.skip("this machine has no sandbox; grade.py said so")
    assert float(rows[student]["total"]) == points, rows[student]
    assert word in rows[student]["remark"] and (bool(rows[student]["remark"]) == (points < 4)), rows[student]


def test_feedback_shows_the_points_and_no_hidden_check(graded):
    _, _, pages = graded
    assert "wrong for 1" in (pages / "honest" / "00_mini.html").read_text("utf-8")  # the visible part
    for student in ("honest", "half"):
        page = (pages / student / "00_mini.html").read_text("utf-8")
        assert "(-2)" not in page and "HIDDEN" not in page


def test_nothing_of_a_submission_goes_on_running(graded):
    import psutil

    running = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in running if "ipykernel_launcher" in line and "/grade" in line]
