"""Badges and the installing cell: what is committed is what the command writes; both with and without an address."""

import importlib.util
import json
import shutil
import subprocess
import sys

import badges
import pytest

ADDRESS = "https://github.com/someone/some-course"
NOTEBOOKS = sorted(f"notebooks/{path.name}" for path in badges.ROOT.glob("notebooks/0*.ipynb"))
FILES = ["README.md", "pyproject.toml", *NOTEBOOKS]


@pytest.fixture
def copy(tmp_path):
    """The files that the command reads and writes, somewhere else."""
    (tmp_path / "copy" / "notebooks").mkdir(parents=True)
    for file in FILES:
        shutil.copy(badges.ROOT / file, tmp_path / "copy" / file)
    return tmp_path / "copy"


def with_address(copy, where=ADDRESS):
    settings = copy / "pyproject.toml"
    lines = [line for line in settings.read_text().splitlines() if not line.startswith("Repository")]
    lines.insert(lines.index("[project.urls]") + 1, f'Repository = "{where}"')
    settings.write_text("\n".join(lines))


def setup_cell(path):
    cells = json.loads(path.read_text())["cells"]
    return "".join(next(cell for cell in cells if "setup" in cell["metadata"].get("tags", []))["source"])


def test_what_is_committed_is_what_the_command_writes(copy):
    badges.main(copy)
    for file in FILES:
        assert (copy / file).read_text() == (badges.ROOT / file).read_text(), f"{file}: run python tools/badges.py"


def test_without_an_address_there_is_no_badge(copy):
    with_address(copy, "")
    badges.main(copy)
    for file in ["README.md", *NOTEBOOKS]:
        assert "mybinder" not in (copy / file).read_text() and "colab.research" not in (copy / file).read_text()


def test_an_address_gives_badges_that_lead_to_the_notebooks_and_can_be_taken_away_again(copy):
    with_address(copy)
    badges.main(copy)
    for file in NOTEBOOKS:
        title = "".join(json.loads((copy / file).read_text())["cells"][0]["source"])
        assert title.startswith("# 0"), "the title stays first"
        assert f"(https://colab.research.google.com/github/someone/some-course/blob/main/{file})" in title
        path = "lab%2Ftree%2F" + file.replace("/", "%2F")
        assert f"(https://mybinder.org/v2/gh/someone/some-course/HEAD?urlpath={path})" in title
        assert f'ADDRESS = "{ADDRESS}"' in setup_cell(copy / file)
    readme = (copy / "README.md").read_text()
    assert "mybinder.org/v2/gh/someone/some-course/HEAD?urlpath=lab%2Ftree%2Fnotebooks)" in readme
    shutil.copy(badges.ROOT / "pyproject.toml", copy)
    test_what_is_committed_is_what_the_command_writes(copy)


def test_an_address_that_colab_cannot_open_is_refused(copy):
    with_address(copy, "https://example.org/course")
    with pytest.raises(ValueError, match=r"https://github\.com/<owner>/<name>"):
        badges.main(copy)


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A kernel that does not know the course, in an empty folder; the commands it would run are noted."""
    ran = []
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "course_utils" else find(name))
    monkeypatch.setattr(subprocess, "run", lambda command, check: ran.append([str(part) for part in command]))
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    return ran


def test_where_nothing_can_be_installed_the_cell_says_what_to_do(stranger):
    with pytest.raises(ModuleNotFoundError, match="make lab.*pip install -e"):
        exec(badges.INSTALL.format(address=""), {})
    assert not stranger


def test_with_an_address_the_cell_fetches_the_course_and_says_so(stranger, capsys, tmp_path):
    exec(badges.INSTALL.format(address=ADDRESS), {})
    clone, install = stranger
    assert clone[:2] == ["git", "clone"] and clone[-2:] == [ADDRESS, str(tmp_path / "course")]
    assert install[1:4] == ["-m", "pip", "install"] and install[-1] == str(tmp_path / "course")
    assert ADDRESS in capsys.readouterr().out


def test_a_copy_of_the_course_around_the_notebook_is_taken_first(stranger, tmp_path, monkeypatch):
    (tmp_path / "course_utils").mkdir()
    (tmp_path / "notebooks" / "homework").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notebooks" / "homework")
    exec(badges.INSTALL.format(address=ADDRESS), {})
    assert [command[-1] for command in stranger] == [str(tmp_path)]
