"""The committed notebooks: one clean run at the laptop profile, cells one can read, exercises nbgrader accepts."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from statistics import median

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("0*.ipynb"))
SOLUTION = re.compile(r"### BEGIN SOLUTION.*?### END SOLUTION", re.DOTALL)


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture(scope="module")
def notebook(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def test_is_valid_and_small(path, notebook):
    nbformat.validate(notebook)
    assert path.stat().st_size <= 3e6


def test_holds_the_outputs_of_one_clean_run_from_top_to_bottom(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook) if cell.source.strip()]
    assert counts == list(range(1, len(counts) + 1))


def test_was_run_at_the_laptop_profile_on_real_images(notebook):
    printed = "".join(output.get("text", "") for output in outputs(notebook))
    assert "profile  laptop" in printed
    assert "images: CIFAR-10 (JPEG copy)" in printed  # by the run itself, not read from a result file


def test_says_the_minutes_that_were_measured(path, notebook):
    rows = json.loads((path.parent.parent / "data" / "results" / "notebook-minutes.json").read_text())["rows"]
    minutes, = (row["value"] for row in rows if row["notebook"] == path.stem)
    words = ["under a minute", "about a minute", "about two minutes", "about three minutes"][round(minutes)]
    assert f"| Time to run | {words} on a laptop;" in notebook.cells[0].source + notebook.cells[1].source


def test_shows_no_error_warning_or_path_of_this_machine(notebook):
    for output in outputs(notebook):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.get("text")
        text = output.get("text", "") + "".join(output.get("data", {}).get("text/plain", ""))
        assert "Warning" not in text
        assert not re.search(r"/(home|root|work|tmp|Users)/", text)
        assert not re.search(r"\r|(it|batch)/s[,\]]", text), "a progress bar was kept: run tools/execute.py"


def test_every_picture_has_alt_text(notebook):
    pictures = [output for output in outputs(notebook) if "image/png" in output.get("data", {})]
    assert pictures
    for picture in pictures:
        assert len(picture.metadata["image/png"]["alt"]) > 20


def test_cells_are_short(notebook):
    lengths = [len(cell.source.splitlines()) for cell in code_cells(notebook)]
    assert max(lengths) <= 30
    assert median(lengths) <= 12


def test_exercises_come_as_a_stub_and_a_check_with_hidden_tests(notebook):
    graded = {cell.metadata.nbgrader.grade_id: cell for cell in code_cells(notebook) if "nbgrader" in cell.metadata}
    names = [grade_id.removesuffix("-solution") for grade_id in graded if grade_id.endswith("-solution")]
    assert 3 <= len(names) <= 5
    for name in names:
        stub, check = graded[f"{name}-solution"], graded[f"{name}-check"]
        assert stub.metadata.nbgrader.solution and not stub.metadata.nbgrader.grade
        assert check.metadata.nbgrader.grade and check.metadata.nbgrader.locked and check.metadata.nbgrader.points > 0
        assert len(SOLUTION.findall(stub.source)) == 1
        assert check.source.count("### BEGIN HIDDEN TESTS") == check.source.count("### END HIDDEN TESTS") == 1
        assert "assert" in check.source.split("### BEGIN HIDDEN TESTS")[0], "students need a visible check too"
        ast.parse(SOLUTION.sub("raise NotImplementedError()", stub.source))


def test_has_the_common_parts(notebook):
    text = "\n".join(cell.source for cell in notebook.cells)
    for part in ("Predict before you run", "Discuss", "Recap", "References", "<details><summary>Hint", "widgets.panel",
                 "widgets.small_multiples", "plots.scoreboard", "plots.three_images"):
        assert part in text, f"no {part!r}"
    tags = {tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])}
    assert {"setup", "claim", "instructor", "nbval-check-output"} <= tags
    assert all("slideshow" in cell.metadata for cell in notebook.cells)
