"""Run the lecture notebooks from top to bottom, in place: `python tools/execute.py [notebook …]` (default: all).

Panels are stored as the sentence that stands for them: a saved widget is dead without its kernel, and its pictures
would be stored twice. A notebook that fails is left as it was.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
VIEW = "application/vnd.jupyter.widget-view+json"


def execute(path: Path, profile: str = "laptop") -> None:
    """Replace the outputs of a notebook by those of one run at this profile."""
    os.environ["COURSE_PROFILE"] = profile
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}},
                   store_widget_state=False).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day, which differ each time
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(VIEW, None)
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for path in [Path(name).resolve() for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("0*.ipynb")):
        print(path.name, flush=True)
        execute(path)
