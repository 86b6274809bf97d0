"""Proof that the checks of the exercises bite: every planted wrong answer is caught by an assertion, with a message.

`python tests/homework/proof.py [01 …]` runs it for these notebooks (default: all) and writes the table to
tests/homework/README.md and the counts to the top-level README. Each lecture notebook runs once, in this process, at
the smoke profile and on the embedded sets, as far as its last exercise; there all answers start from the same state.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import nbformat
import torch
from IPython.display import display
from nbgrader.preprocessors import ClearSolutions

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("0*.ipynb"))
HEADING = re.compile(r"### Exercise (\d\.\d) · (.+)\n\*Difficulty ([●○]{3}) · about (\d+) minutes · (\d) points\.\* "
                     r"\*\*Why it matters:\*\* \S")
COUNTS = re.compile(r"(<!-- proof -->).*?(<!-- /proof -->)", re.DOTALL)


@dataclass
class Exercise:
    """One exercise of a notebook: its texts, its solution cell and its check cell."""

    number: str  # "6.1"
    title: str
    points: int  # as its heading says
    place: int  # of the solution cell in the notebook; the check is the cell after it
    solution: nbformat.NotebookNode
    check: nbformat.NotebookNode
    has_hint: bool

    @property
    def stub(self) -> str:
        """The solution cell as the student gets it: nbgrader's own work."""
        cell, _ = ClearSolutions().preprocess_cell(self.solution.copy(), {"language": "python"}, 0)
        return cell.source

    @property
    def planted(self) -> dict[str, str]:
        """The planted wrong answers: the mistake in a few words -> the whole solution cell."""
        path = HERE / "planted" / f"0{self.number.replace('.', '_')}.py"
        cells = re.split(r"^# %% ", path.read_text(encoding="utf-8") if path.exists() else "", flags=re.MULTILINE)[1:]
        return {cell.split("\n", 1)[0].strip(): cell.split("\n", 1)[1].strip() for cell in cells}


@dataclass
class Outcome:
    """What became of one answer: `by` is "passed", "visible", "hidden" (which check caught it), or an error's name."""

    by: str
    message: str = ""


@dataclass
class Proof:
    """All outcomes of one notebook, by the number of the exercise."""

    notebook: str
    exercises: list[Exercise]
    stub: dict[str, Outcome] = field(default_factory=dict)
    solution: dict[str, Outcome] = field(default_factory=dict)
    planted: dict[str, dict[str, Outcome]] = field(default_factory=dict)


def exercises(path: Path) -> list[Exercise]:
    """The exercises of a notebook, in order; ValueError for a heading that lacks one of its parts."""
    cells, found = nbformat.read(path, as_version=4).cells, []
    for i, cell in enumerate(cells):
        if not cell.metadata.get("nbgrader", {}).get("solution"):
            continue
        heading = HEADING.search("\n".join(c.source for c in cells[max(0, i - 3):i] if c.cell_type == "markdown"))
        if heading is None:
            raise ValueError(f"{path.name}, before {cell.metadata.nbgrader.grade_id}: not an exercise's heading")
        after = [c.source for c in cells[i + 2:i + 5] if c.cell_type == "markdown"]
        hint = any("<details><summary>Hint" in text for text in after)
        found.append(Exercise(heading[1], heading[2], int(heading[5]), i, cell, cells[i + 1], hint))
    return found


class Snapshot:
    """A namespace as it is now, with the values in its tensors and networks: no answer spoils the next one's start."""

    def __init__(self, names: dict):
        self.names, self.random = dict(names), torch.get_rng_state()
        networks = [value for value in names.values() if isinstance(value, torch.nn.Module)]
        self.modes = [(module, module.training) for network in networks for module in network.modules()]
        self.learns = [(p, p.requires_grad) for network in networks for p in network.parameters()]
        tensors = [value for value in names.values() if isinstance(value, torch.Tensor)]
        tensors += [value for network in networks for value in network.state_dict().values()]
        self.tensors = [(tensor, tensor.detach().clone()) for tensor in tensors if not tensor.is_meta]

    def restore(self, names: dict) -> None:
        names.clear()
        names.update(self.names)
        torch.set_rng_state(self.random)
        for module, training in self.modes:
            module.training = training
        for parameter, learns in self.learns:
            parameter.requires_grad_(learns)
        for tensor, value in self.tensors:
            if not torch.equal(tensor, value):
                tensor.data.copy_(value)


def run(source: str, names: dict, title: str) -> None:
    """Run one code cell; `title` is the file that a traceback names."""
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # test_notebooks.py sees to it that the notebooks show none
        exec(compile(source, title, "exec"), names)


def outcome(answer: str, exercise: Exercise, names: dict) -> Outcome:
    """Run an answer and then the check of its exercise; an assertion counts only where the check itself makes it."""
    try:
        run(answer, names, "<answer>")
        run(exercise.check.source, names, "<check>")
    except Exception as error:
        frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
        lines = [line for file, line in frames if file == "<check>"]
        message = " ".join(str(error).split())
        if not isinstance(error, AssertionError) or not lines or "<answer>" in [file for file, _ in frames]:
            return Outcome(type(error).__name__, message)
        above = exercise.check.source.split("### BEGIN HIDDEN TESTS")[0].count("\n")
        return Outcome("visible" if lines[0] <= above else "hidden", message)
    return Outcome("passed")


def prove(path: Path) -> Proof:
    """Run a notebook up to its last exercise, and at each exercise the stub, every planted answer, and the solution."""
    proof = Proof(path.stem, exercises(path))
    waiting = {exercise.place: exercise for exercise in proof.exercises}
    names = {"__name__": "__main__", "display": display}
    for i, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if not waiting:
            break
        exercise = waiting.pop(i, None)
        if exercise is not None:
            start, number = Snapshot(names), exercise.number
            proof.stub[number] = outcome(exercise.stub, exercise, names)
            proof.planted[number] = {}
            for mistake, answer in exercise.planted.items():
                start.restore(names)
                proof.planted[number][mistake] = outcome(answer, exercise, names)
            start.restore(names)
            proof.solution[number] = outcome(exercise.solution.source, exercise, names)
        elif cell.cell_type == "code" and not cell.metadata.get("nbgrader"):
            run(cell.source, names, f"{path.name}, cell {i}")
    return proof


def table(proof: Proof) -> str:
    """The proof of one notebook as a section of tests/homework/README.md."""
    lines = [f"## {proof.notebook}", ""]
    lines += ["| exercise | planted wrong answer | caught by | which says |", "|---|---|---|---|"]
    for exercise in proof.exercises:
        for mistake, found in proof.planted[exercise.number].items():
            words = found.message.split(" ")
            said = " ".join(words[:25]) + " …" * (len(words) > 25)
            lines.append(f"| {exercise.number} {exercise.title} | " + " | ".join(
                text.replace("|", "\\|") for text in (mistake, found.by, said)) + " |")
    return "\n".join(lines) + "\n"


def sections(text: str) -> dict[str, str]:
    """The sections of tests/homework/README.md by notebook."""
    parts = re.split(r"^(?=## 0)", text, flags=re.MULTILINE)[1:]
    return {part.split("\n", 1)[0].removeprefix("## "): part.rstrip() + "\n" for part in parts}


def counts() -> str:
    """What the top-level README says."""
    every = [exercise for path in NOTEBOOKS for exercise in exercises(path)]
    return f"{len(every)} exercises, {sum(len(exercise.planted) for exercise in every)} planted wrong answers"


@contextlib.contextmanager
def embedded():
    """The smoke profile on the CPU and on the embedded sets, whatever the caller's settings; own files vanish."""
    from course_utils import checkpoints, scoreboard
    from course_utils.datasets import storage

    kept = {name: value for name, value in os.environ.items() if not name.startswith("COURSE_")}
    settings = {**kept, "COURSE_PROFILE": "smoke", "COURSE_DEVICE": "cpu"}
    with contextlib.ExitStack() as stack:
        nowhere = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(mock.patch.dict(os.environ, settings, clear=True))
        for module, name in ((storage, "DOWNLOADS"), (checkpoints, "OWN"), (scoreboard, "OWN")):
            stack.enter_context(mock.patch.object(module, name, nowhere / module.__name__))
        yield


def write(proof: Proof) -> None:
    """Put one notebook's table into tests/homework/README.md, and the counts into the top-level README."""
    page, readme = HERE / "README.md", ROOT / "README.md"
    text = page.read_text(encoding="utf-8")
    every = {**sections(text), proof.notebook: table(proof)}
    head = text.split("## 0")[0].rstrip() + "\n\n"
    page.write_text(head + "\n".join(every[name] for name in sorted(every)), encoding="utf-8")
    readme.write_text(COUNTS.sub(rf"\g<1>{counts()}\g<2>", readme.read_text(encoding="utf-8")), encoding="utf-8")


def main(wanted: list[str]) -> None:
    """Prove the wanted notebooks, say what every answer came to, and write it down."""
    import matplotlib

    matplotlib.use("Agg")
    with embedded():
        for path in [path for path in NOTEBOOKS if not wanted or path.stem[:2] in wanted]:
            start, proof = time.perf_counter(), prove(path)
            for exercise in proof.exercises:
                number = exercise.number
                print(f"{number}: stub {proof.stub[number].by}; solution {proof.solution[number].by} "
                      f"{proof.solution[number].message[:200]}")
                for mistake, found in proof.planted[number].items():
                    print(f"     {found.by:<8} {mistake}: {found.message[:200]}")
            print(f"{path.stem}: {time.perf_counter() - start:.0f} s", flush=True)
            write(proof)


if __name__ == "__main__":
    main(sys.argv[1:])
