"""Run the lecture notebooks from top to bottom, in place: `python tools/execute.py [notebook …]` (default: all).

Panels are stored as the sentence that stands for them: a saved widget is dead without its kernel, and its pictures
would be stored twice. Of a progress bar the last state stays. A notebook that fails is left as it was.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
VIEW = "application/vnd.jupyter.widget-view+json"


def execute(path: Path, profile: str = "laptop") -> None:
    """Replace the outputs of a notebook by those of one run at this profile."""
    os.environ["COURSE_PROFILE"] = profile
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}},
                   store_widget_state=False).execute()
    nbformat.write(tidy(notebook), path)


def tidy(notebook):
    """The notebook with outputs to read: no dead widget, no past state of a progress bar, no time of day."""
    notebook, _ = CoalesceStreamsPreprocessor(enabled=True)(notebook, {})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.output_type != "stream" or o.text.strip()]
            for output in cell.outputs:
                output.get("data", {}).pop(VIEW, None)
    notebook.metadata.pop("widgets", None)
    return notebook


if __name__ == "__main__":
    for path in [Path(name).resolve() for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("0*.ipynb")):
        print(path.name, flush=True)
        execute(path)
