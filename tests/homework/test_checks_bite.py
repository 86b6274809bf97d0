"""Every exercise: the stub fails as a stub, the solution passes, each planted wrong answer is caught with a message."""

from __future__ import annotations

import re

import nbformat
import proof as proofs
import pytest
import torch

TORCHS_OWN = ("Tensor-likes are not", "Scalars are not", "The values for attribute")  # says nothing about why


@pytest.fixture(scope="module", params=proofs.NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture(scope="module")
def proof(path):
    """One run of one notebook, which all tests below look at."""
    with proofs.embedded():
        return proofs.prove(path)


def test_every_exercise_is_complete(path):
    found = proofs.exercises(path)
    assert 3 <= len(found) <= 5
    for exercise in found:
        assert exercise.points == exercise.check.metadata.nbgrader.points, f"{exercise.number}: points differ"
        assert exercise.has_hint, f"{exercise.number} has no folded hint"
        assert len(exercise.planted) >= 3, f"{exercise.number} has {len(exercise.planted)} planted answers, of three"
        assert len(set(exercise.planted.values())) == len(exercise.planted)


def test_the_student_edition_stops_at_its_stubs(proof):
    assert {n: found.by for n, found in proof.stub.items()} == dict.fromkeys(proof.stub, "NotImplementedError")


def test_the_solution_passes(proof):
    assert {n: (found.by, found.message) for n, found in proof.solution.items()} == dict.fromkeys(
        proof.solution, ("passed", ""))


def test_every_planted_answer_is_caught_by_an_assertion_that_says_why(proof):
    for number, outcomes in proof.planted.items():
        for mistake, found in outcomes.items():
            assert found.by in ("visible", "hidden"), f"{number}, {mistake}: {found.by} {found.message}"
            assert found.message and not found.message.startswith(TORCHS_OWN), (
                f"{number}, {mistake}: caught without a word of our own: {found.message!r}")


def test_the_table_is_current(proof):
    masked = re.compile(r"-?(\d[\d.,]*(e[-+]?\d+)?%?|\binf\b|\bnan\b)")  # numbers may differ on another machine
    written = proofs.sections((proofs.HERE / "README.md").read_text(encoding="utf-8")).get(proof.notebook, "")
    assert masked.sub("#", written) == masked.sub("#", proofs.table(proof)), "stale: run `make proof`"


def test_the_counts_in_the_readme_are_current():
    text = (proofs.ROOT / "README.md").read_text(encoding="utf-8")
    assert proofs.COUNTS.search(text)[0] == f"<!-- proof -->{proofs.counts()}<!-- /proof -->", "stale: run `make proof`"


CHECK = """assert double(2) == 4, "twice two is four"
double(0)
### BEGIN HIDDEN TESTS
assert double(3) == 6, "twice three is six"
### END HIDDEN TESTS"""


@pytest.mark.parametrize(("body", "by"), [
    ("return 2 * x", "passed"),
    ("return x + 1", "visible"),
    ("return 4", "hidden"),
    ("return 2 / x * x * x", "ZeroDivisionError"),  # a crash is no catch
    ("assert x > 2", "AssertionError"),  # nor is an assertion of the answer's own
    ("### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION", "passed"),
])
def test_the_proof_tells_a_catch_from_a_crash(body, by):
    solution = nbformat.v4.new_code_cell(f"def double(x):\n    {body}")
    exercise = proofs.Exercise("0.0", "Double", 1, 0, solution, nbformat.v4.new_code_cell(CHECK), True)
    assert proofs.outcome(solution.source, exercise, {}).by == by


def test_the_stub_is_what_nbgrader_makes():
    source = "def double(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION"
    solution = nbformat.v4.new_code_cell(source, metadata={"nbgrader": {"solution": True}})
    exercise = proofs.Exercise("0.0", "Double", 1, 0, solution, nbformat.v4.new_code_cell(CHECK), True)
    assert "return 2" not in exercise.stub and solution.source == source
    assert proofs.outcome(exercise.stub, exercise, {}).by == "NotImplementedError"


def test_a_snapshot_brings_back_names_values_modes_and_draws():
    names = {"z": torch.zeros(3), "net": torch.nn.BatchNorm1d(3), "meta": torch.zeros(3, device="meta")}
    start, draw = proofs.Snapshot(names), torch.rand(1)
    names["net"](torch.rand(4, 3))
    names["net"].eval().requires_grad_(False)
    names["z"] += 1
    names["other"] = names.pop("z")
    start.restore(names)
    assert sorted(names) == ["meta", "net", "z"] and (names["z"] == 0).all() and torch.equal(torch.rand(1), draw)
    assert names["net"].training and names["net"].weight.requires_grad and names["net"].num_batches_tracked == 0
