"""Colab and Binder badges, and the cell that installs the course where it is missing: `python tools/badges.py`.

One source: `Repository` under [project.urls] in pyproject.toml. While it is unset no badge is shown anywhere, and the
notebooks say how to install the course by hand. Run this after setting the address; tests/test_badges.py compares.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
COLAB = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({})"
BINDER = "[![Launch on Binder](https://mybinder.org/badge_logo.svg)]({})"
README = re.compile(r"(<!-- badges -->\n).*?(<!-- /badges -->)", re.DOTALL)
# Stands at the head of each notebook's set-up cell. A copy of the course around the notebook goes before the address.
INSTALL = '''\
import importlib.util, pathlib, subprocess, sys
ADDRESS = "{address}"  # of the course; tools/badges.py writes it
if importlib.util.find_spec("course_utils") is None:  # on Colab, or in a kernel that does not know the course
    here = [p for p in pathlib.Path.cwd().parents if (p / "course_utils").is_dir()]
    home = here[0] if here else pathlib.Path("course").resolve()
    if not (ADDRESS or here):
        raise ModuleNotFoundError("course_utils is not installed, and there is no address to fetch it from. In the "
                                  "course's folder run `make lab`, or `pip install -e .` with this kernel's Python.")
    print(f"course_utils is not installed; installing it now, once, from {{home if here else ADDRESS}}")
    if not home.exists():
        subprocess.run(["git", "clone", "-q", "--depth=1", ADDRESS, home], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", home], check=True)
    sys.path.insert(0, str(home))
'''
LAST = INSTALL.splitlines()[-1]


def address(root: Path = ROOT) -> str:
    """The repository's public address, "" while it is unset; ValueError for one that Colab and Binder cannot open."""
    urls = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
    found = urls.get("Repository", "").removesuffix("/").removesuffix(".git")
    if found and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", found):
        raise ValueError(f"[project.urls] Repository is {found!r}; the badges need https://github.com/<owner>/<name>")
    return found


def badges(where: str, notebook: str | None = None) -> str:
    """The badges of one notebook, or of the course; "" without an address."""
    if not where:
        return ""
    name = where.removeprefix("https://github.com/")
    path = f"notebooks/{notebook}" if notebook else "notebooks"
    binder = BINDER.format(f"https://mybinder.org/v2/gh/{name}/HEAD?urlpath={quote(f'lab/tree/{path}', safe='')}")
    colab = COLAB.format(f"https://colab.research.google.com/github/{name}/blob/main/{path}")
    return f"{colab} {binder}" if notebook else binder  # Colab opens notebooks, not folders


def in_title(text: str, line: str) -> str:
    """The title cell with this line of badges below its heading, or with none."""
    heading, *rest = [part for part in text.split("\n\n") if not part.startswith("[![")]
    return "\n\n".join([heading, *([line] if line else []), *rest])


def in_setup(text: str, where: str) -> str:
    """The set-up cell with the installation at its head."""
    imports = text.partition(LAST + "\n")[2].lstrip("\n") if LAST in text else text
    return INSTALL.format(address=where) + "\n" + imports


def main(root: Path = ROOT) -> None:
    where = address(root)
    for path in sorted((root / "notebooks").glob("0*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        title = notebook["cells"][0]
        setup = next(cell for cell in notebook["cells"] if "setup" in cell["metadata"].get("tags", []))
        title["source"] = in_title("".join(title["source"]), badges(where, path.name)).splitlines(keepends=True)
        setup["source"] = in_setup("".join(setup["source"]), where).splitlines(keepends=True)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    readme = root / "README.md"
    line = badges(where) + "\n" if where else ""
    readme.write_text(README.sub(rf"\g<1>{line}\g<2>", readme.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"badges for {where}" if where else "no badges: [project.urls] Repository in pyproject.toml is unset")


if __name__ == "__main__":
    main()
