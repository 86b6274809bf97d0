"""Grade one submission in an nbgrader folder and print the result as JSON; `grade.py` starts this, once for each.

`python tools/autograde.py COURSE STUDENT NOTEBOOK`. The kernel is started, watched and, if need be, killed from here;
the code of the student runs in the kernel only. A cell that did not run to its end counts as failed: nbgrader by itself
gives full marks to a check without an error, even if it never ran.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
from homework import settings
from nbclient.exceptions import DeadKernelError
from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import ClearHiddenTests, Execute, GetGrades, NbGraderPreprocessor

LIMITS = json.loads(os.environ["LIMITS"])


class Watched(Execute):
    """nbgrader's Execute, which ends a kernel that goes beyond a limit and goes on without it."""

    ended = None  # why there is no kernel any more
    volume = 0  # characters of output so far

    def watch(self) -> None:
        """In a thread of its own: time, processes and memory of all that the kernel started."""
        end, kernel = time.monotonic() + LIMITS["seconds"], psutil.Process(self.km.provisioner.pid)
        while self.ended is None:
            try:
                family = [kernel, *kernel.children(recursive=True)]
                memory = sum(process.memory_info().rss for process in family[:LIMITS["processes"]])
            except psutil.NoSuchProcess:
                memory, family = 0, [kernel] if kernel.is_running() else []
            if time.monotonic() > end:
                self.end(f"more than {LIMITS['seconds']} s in all")
            elif len(family) > LIMITS["processes"]:
                self.end(f"more than {LIMITS['processes']} processes")
            elif memory > LIMITS["memory"]:
                self.end(f"more than {LIMITS['memory'] / 1e9:.0f} GB of memory")
            time.sleep(0.1)

    def end(self, why: str) -> None:
        self.ended = self.ended or why
        kernel = psutil.Process(self.km.provisioner.pid)
        for process in [kernel, *kernel.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def preprocess_cell(self, cell, resources, index):
        if self.code_cells_executed == 0 and not hasattr(self, "watcher"):
            self.watcher = threading.Thread(target=self.watch, daemon=True)
            self.watcher.start()
        if cell.cell_type == "code" and self.ended is None:
            try:
                return super().preprocess_cell(cell, resources, index)
            except (DeadKernelError, RuntimeError, OSError) as error:
                self.ended = self.ended or f"the kernel was ended from within ({error})"
        if cell.cell_type == "code":
            message = self.ended
            cell.outputs = [nbformat.v4.new_output("error", ename="NotRun", evalue=message, traceback=[message])]
        return cell, resources

    def on_cell_executed(self, **about):
        super().on_cell_executed(**about)
        if self.ended is not None or about["execute_reply"]["content"]["status"] == "aborted":
            raise DeadKernelError("cell not finished")

    def process_message(self, message, cell, index):
        self.volume += len(str(message["content"]))
        if self.volume > LIMITS["output"]:
            if self.ended is None:
                self.end(f"more than {LIMITS['output'] / 1e6:.0f} MB of output")
            return None
        return super().process_message(message, cell, index)


class Brief(NbGraderPreprocessor):
    """Of a failed check the feedback shows the message, not the lines around it, which may be hidden ones."""

    def preprocess_cell(self, cell, resources, index):
        if cell.metadata.get("nbgrader", {}).get("grade"):
            for output in cell.outputs:
                if output.output_type == "error":
                    output.traceback = [f"{output.ename}: {output.evalue}"]
        return cell, resources


def main(course: str, student: str, notebook: str) -> None:
    c = settings()
    c.TagRemovePreprocessor.enabled = c.ClearMetadataPreprocessor.enabled = False  # these are for handing out
    c.CourseDirectory.root, c.CourseDirectory.assignment_id, c.CourseDirectory.student_id = course, notebook, student
    c.KernelManager.transport, c.KernelManager.ip = "ipc", os.path.join(os.environ["TMPDIR"], "k")  # no network needed
    c.Watched.timeout, c.Watched.iopub_timeout = LIMITS["cell"], 30
    c.OverwriteCells.add_missing_cells = True  # a check that was deleted comes back
    folder = CourseDirectory(config=c)
    autograde, feedback = Autograde(coursedir=folder, config=c), GenerateFeedback(coursedir=folder, config=c)
    autograde.autograde_preprocessors = [Watched if step is Execute else step
                                         for step in autograde.autograde_preprocessors]
    feedback.preprocessors = [GetGrades, Brief, ClearHiddenTests, CSSHTMLHeaderPreprocessor]
    for converter in (autograde, feedback):
        converter.log.setLevel(logging.ERROR)
        converter.start()
    with Gradebook(folder.db_url) as book:
        grades = book.find_submission_notebook(notebook, notebook, student).grades
        points = {grade.name.removesuffix("-check"): grade.score for grade in grades}
    page = Path(course, "feedback", student, notebook, f"{notebook}.html").read_text(encoding="utf-8")
    graded = nbformat.read(Path(course, "autograded", student, notebook, f"{notebook}.ipynb"), as_version=4)
    print(json.dumps({"points": points, "remark": "; ".join(remarks(graded)), "page": page}))


def remarks(graded: nbformat.NotebookNode) -> list[str]:
    """Why each exercise that failed did so, from the first error of its check."""
    found = []
    for cell in graded.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            errors = [output for output in cell.outputs if output.output_type == "error"]
            name = cell.metadata.nbgrader.grade_id.removesuffix("-check")
            found += [f"{name}: {e.ename}: {' '.join(e.evalue.split())}"[:160] for e in errors[:1]]
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
