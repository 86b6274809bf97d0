"""The student edition: `python tools/homework.py [FOLDER]` makes notebooks/homework (or FOLDER) of notebooks/0*.ipynb.

nbgrader's generate_assignment does the work: solutions become stubs, hidden tests go, outputs go. Cells tagged
`instructor` are left out, and of the notebook's metadata only the kernel stays, so that the same source always gives
the same bytes. All outputs are cleared: which picture gives an answer away would be a judgement anew at every change.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

from nbconvert.preprocessors import ClearMetadataPreprocessor, TagRemovePreprocessor
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
LECTURE = ROOT / "notebooks"
EDITION = LECTURE / "homework"
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # nbgrader calls `alembic`


def settings() -> Config:
    """What nbgrader is told, for handing out and for grading alike."""
    c = Config()
    c.TagRemovePreprocessor.remove_cell_tags = {"instructor"}
    c.TagRemovePreprocessor.enabled = True
    c.ClearMetadataPreprocessor.clear_cell_metadata = False
    c.ClearMetadataPreprocessor.preserve_nb_metadata_mask = {"kernelspec", ("language_info", "name")}
    c.ClearMetadataPreprocessor.enabled = True
    c.ClearSolutions.code_stub = {"python": "# your code here\nraise NotImplementedError()"}
    return c


def assign(notebook: Path, course: Path) -> Path:
    """Make the assignment `notebook.stem` in the nbgrader folder `course`; its student edition."""
    name = notebook.stem
    (course / "source" / name).mkdir(parents=True)
    shutil.copy(notebook, course / "source" / name)
    c = settings()
    c.CourseDirectory.root, c.CourseDirectory.assignment_id = str(course), name
    converter = GenerateAssignment(coursedir=CourseDirectory(config=c), config=c)
    converter.log.setLevel(logging.ERROR)
    converter.preprocessors = [TagRemovePreprocessor, *converter.preprocessors, ClearMetadataPreprocessor]
    converter.start()
    return course / "release" / name / notebook.name


def main(folder: Path = EDITION) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for notebook in sorted(LECTURE.glob("0*.ipynb")):
        with tempfile.TemporaryDirectory() as course:
            shutil.copyfile(assign(notebook, Path(course)), folder / notebook.name)
        print(f"{folder / notebook.name}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
