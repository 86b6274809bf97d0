"""What goes on the site and on the slides, without a browser: minute plan, hidden code, notes, prerequisites."""

import copy
import re

import badges
import nbformat
import pages
import pytest

NOTEBOOKS = sorted((pages.ROOT / "notebooks").glob("0*.ipynb"))


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_the_minute_plan_covers_every_section_and_makes_a_lecture(notebook):
    plan = pages.minute_plan(notebook)
    assert list(plan) == [pages.section(cell) for cell in notebook.cells if pages.section(cell)]
    assert sum(plan.values()) == pages.LECTURE and min(plan.values()) >= 1


def test_the_title_cell_tells_what_the_contents_need(notebook):
    found = pages.about(notebook)
    assert set(found["rows"]) == {"You will", "You need", "Slides", "Time to run"}
    assert "f(x)" in found["question"]
    assert all(number < found["title"][:2] for number in found["needs"]), "a notebook needs earlier ones only"


def test_a_deck_shows_the_code_of_ideas_only_and_keeps_exercises_out(notebook):
    made = pages.deck(copy.deepcopy(notebook))
    for cell in made.cells:
        if cell.cell_type == "code":
            hidden = cell.metadata.get("transient", {}).get("remove_source", False)
            assert hidden != ("idea" in cell.metadata.get("tags", []))
            assert "nbgrader" not in cell.metadata
            assert not any("widget-view" in mime for output in cell.outputs for mime in output.get("data", {}))
    visible = "\n".join(cell.source for cell in made.cells if pages.kind(cell) != "notes")
    assert "Instructor notes" not in visible and "### Exercise" not in visible
    assert "Predict before you run" in visible


def test_nothing_that_is_said_gets_lost(notebook):
    """Every paragraph of a slide's text is in the deck, before the hall or in the notes."""
    wanted = [part for cell in notebook.cells if cell.cell_type == "markdown" and pages.kind(cell) != "skip"
              for part in cell.source.split("\n\n")]
    text = "\n".join(cell.source for cell in pages.deck(copy.deepcopy(notebook)).cells)
    assert [part for part in wanted if part not in text] == []


def test_the_clock_of_the_deck_runs_for_the_lecture(notebook):
    made = pages.deck(copy.deepcopy(notebook))
    seconds = [cell.metadata.slideshow.get("data", {}).get("timing", 0) for cell in made.cells]
    assert sum(map(int, seconds)) == pytest.approx(60 * pages.LECTURE, abs=60)
    ends = [int(end) for cell in made.cells for end in re.findall(r"Minutes \d+–(\d+) of 75", cell.source)]
    assert max(ends) == pages.LECTURE


def test_the_map_puts_a_notebook_right_of_all_that_it_needs():
    rows = [("01", []), ("02", ["01"]), ("03", ["02"]), ("04", ["02"]), ("05", ["01"])]
    found = pages.prerequisite_map([{"number": number, "needs": needs} for number, needs in rows])
    places = {place["number"]: place for place in found}
    assert all(places[need]["x"] < places[n]["x"] for n, needs in rows for need in needs)
    assert len({(place["x"], place["y"]) for place in places.values()}) == len(rows), "no two on one place"


def test_badges_become_links_since_their_pictures_would_need_a_network(tmp_path):
    badge = badges.badges("https://github.com/someone/some-course", "01_pixel_space.ipynb")
    title = nbformat.v4.new_markdown_cell(badges.in_title("# 01 · Title\n\nText", badge))
    nbformat.write(nbformat.v4.new_notebook(cells=[title]), tmp_path / "01.ipynb")
    assert re.fullmatch(r"# 01 · Title\n\n\[Open in Colab\]\(https://\S+\) \[Launch on Binder\]\(https://\S+\)\n\nText",
                        pages.read(tmp_path / "01.ipynb").cells[0].source)


def test_without_a_network_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "BUILD", tmp_path)
    monkeypatch.setattr(pages.subprocess, "run", lambda command: type("Failed", (), {"returncode": 1}))
    with pytest.raises(SystemExit, match="pip install.*django-static-mathjax"):
        pages.library("mathjax", tmp_path)
