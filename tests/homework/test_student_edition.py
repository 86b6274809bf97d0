"""The committed student edition: without answers, and running from any section on, save at its unsolved checks."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import types
import warnings
from pathlib import Path

import nbformat
import pytest
import torch
from IPython.display import display
from matplotlib import pyplot as plt

ROOT = Path(__file__).parent.parent.parent
LECTURE = sorted((ROOT / "notebooks").glob("0*.ipynb"))
EDITION = ROOT / "notebooks" / "homework"
ANSWER = re.compile(r"### BEGIN (?:SOLUTION|HIDDEN TESTS)\n(.*?)### END", re.DOTALL)


@pytest.fixture(params=LECTURE, ids=lambda path: path.stem)
def lecture(request):
    return nbformat.read(request.param, as_version=4), EDITION / request.param.name


@pytest.fixture
def student(lecture):
    return nbformat.read(lecture[1], as_version=4)


@pytest.fixture
def embedded(monkeypatch):
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    monkeypatch.setenv("COURSE_DEVICE", "cpu")


def tagged(cell, tag):
    return tag in cell.metadata.get("tags", [])


def is_check(cell):
    return cell.metadata.get("nbgrader", {}).get("grade", False)


def sections(notebook):
    """The set-up cells, and the code cells under each "## " heading by its text."""
    start, found, title = [], {}, None
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            title = cell.source.split("\n")[0]
            found[title] = []
        elif cell.cell_type == "code":
            (start if tagged(cell, "setup") else found[title]).append(cell)
    return start, found


def run(cells, names=None):
    """Run cells one after the other, in a new namespace if none is given: the id and error of each that raised."""
    names, raised = {"__name__": "__main__", "display": display} if names is None else names, []
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), \
            warnings.catch_warnings():
        warnings.simplefilter("ignore")  # test_notebooks.py sees to it that the notebooks show none
        for cell in cells:
            try:
                exec(compile(cell.source, cell.id, "exec"), names)
            except Exception as error:
                raised.append((cell.id, f"{type(error).__name__}: {error}"))
    plt.close("all")
    return raised


def test_it_is_valid_python_without_a_solution_a_hidden_check_or_an_output(lecture, student):
    nbformat.validate(student)
    source, _ = lecture
    graded = [cell for cell in student.cells if "nbgrader" in cell.metadata]
    assert [cell.metadata.nbgrader.grade_id for cell in graded] == [
        cell.metadata.nbgrader.grade_id for cell in source.cells if "nbgrader" in cell.metadata]
    for cell in student.cells:
        assert not tagged(cell, "instructor") and "Instructor notes" not in cell.source
        if cell.cell_type == "code":
            ast.parse(cell.source)
            assert not cell.outputs and cell.execution_count is None
            assert not re.search(r"SOLUTION|HIDDEN TESTS", cell.source)
    handed_out, lecture_text = ("\n".join(cell.source for cell in book.cells) for book in (student, source))
    without_answers = ANSWER.sub("", lecture_text)  # the bug hunt of 06 shows a line of its own solution
    for answer in ANSWER.findall(lecture_text):
        for line in filter(lambda line: len(line.strip()) > 20, answer.splitlines()):
            assert handed_out.count(line) <= without_answers.count(line), f"a line of an answer is left: {line}"


def test_all_but_answers_and_notes_is_as_in_the_lecture(lecture, student):
    kept = [cell for cell in lecture[0].cells if not tagged(cell, "instructor")]
    assert [cell.id for cell in student.cells] == [cell.id for cell in kept]
    for mine, theirs in zip(student.cells, kept, strict=True):
        if "nbgrader" not in theirs.metadata:
            assert mine.source == theirs.source


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, torch.nn.Module):
        return str(a) == str(b) and all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))
    return a is b or (a.equals(b) if hasattr(a, "equals") else a == b)


def stops_at_its_checks_only(title, cells, start=()):
    """Every check raises NotImplementedError, since its stub is unsolved, and no other cell raises anything."""
    raised = dict(run([*start, *cells]))
    checks = [cell.id for cell in cells if is_check(cell)]
    for cell, error in raised.items():
        assert cell in checks, f"{title}: {cell} fails by itself: {error}"
        assert error.startswith("NotImplementedError"), f"{title}: check {cell} says {error}"
    assert set(raised) == set(checks), f"{title}: a check passes with its stub unsolved"


def test_unsolved_it_stops_at_its_checks_and_nowhere_else(student, embedded):
    stops_at_its_checks_only("from top to bottom", [cell for cell in student.cells if cell.cell_type == "code"])


def test_every_section_runs_after_the_setup_cells_alone(student, embedded):
    start, found = sections(student)
    for title, cells in found.items():
        stops_at_its_checks_only(title, cells, start)


def test_a_preload_cell_comes_first_in_its_section_and_a_second_run_changes_nothing(lecture, student, embedded):
    start, found = sections(student)
    for title, cells in found.items():
        assert not any(tagged(cell, "preload") for cell in cells[1:]), title
        if cells and tagged(cells[0], "preload"):
            names = {"__name__": "__main__", "display": display}
            assert not run([*start, cells[0]], names)
            before = {name: value for name, value in names.items() if not isinstance(value, types.FunctionType)}
            assert not run([cells[0]], names)
            for name, value in before.items():
                assert same(names[name], value), f"{title}: {name} has changed"


def test_the_project_runs_at_smoke(embedded):
    project = nbformat.read(EDITION / "project_reproduction.ipynb", as_version=4)
    nbformat.validate(project)
    names = {"__name__": "__main__", "display": display}
    assert not run([cell for cell in project.cells if cell.cell_type == "code"], names)
    texts = [names["verdict"](*names["rows_of"](claim)) for claim in names["claims"].values()]
    assert [text.split(":")[0] for text in texts] == ["not decided at this budget", "reproduced"]
    row = {"value": 0.5, "low": 0.4, "high": 0.6}
    assert names["verdict"](row, {"value": 0.2, "low": 0.1, "high": 0.3}).startswith("contradicted: -30.0")
