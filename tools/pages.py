"""The executed notebooks as a static site and as slides: `python tools/pages.py site|slides [NOTEBOOK …]`.

Nothing is executed here: the pages show the outputs that the notebooks hold. nbconvert renders, `templates/` holds
the looks, and this file says what goes where. The pages need no network: MathJax and reveal.js lie beside them,
fetched once from PyPI by pip into build/vendor.
"""

from __future__ import annotations

import argparse
import base64
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import PIL.Image
from execute import tidy
from nbconvert import HTMLExporter, SlidesExporter

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = Path(__file__).resolve().parent / "templates"
BUILD = ROOT / "build"
LECTURE = 75  # minutes
# Fetched by pip, without what the packages depend on: only these files of theirs are wanted.
LIBRARIES = {"mathjax": ("django-static-mathjax==3.2.2.1", "mathjax/static/mathjax/es5", ("tex-svg.js",)),
             "reveal": ("sphinx-revealjs==3.2.1", "sphinx_revealjs/_static/revealjs",
                        ("dist/reset.css", "dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js"))}


def library(name: str, out: Path) -> None:
    """Put MathJax or reveal.js beside the pages; SystemExit with the way out where it must be fetched and cannot."""
    package, folder, files = LIBRARIES[name]
    vendor = BUILD / "vendor"
    if not (vendor / folder / files[-1]).exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--upgrade", "--target", str(vendor), package]
        if subprocess.run(command).returncode:
            raise SystemExit(f"{package} could not be fetched; it is needed once. With a network: {' '.join(command)}")
    (out / name).mkdir(exist_ok=True)
    for file in files:
        shutil.copy(vendor / folder / file, out / name)


def read(path: Path):
    """The notebook; badges become plain links, since their pictures would need a network."""
    notebook = tidy(nbformat.read(path, as_version=4))
    title = notebook.cells[0]
    title.source = re.sub(r"\[!\[([^]]+)\]\([^)]+\)\]", r"[\1]", title.source)
    return notebook


def about(notebook) -> dict:
    """What the title cell says: title, the question (first paragraph), and the rows of its table."""
    text = notebook.cells[0].source
    rows = dict(re.findall(r"^\| (You will|You need|Slides|Time to run) \| (.+) \|$", text, re.MULTILINE))
    first = next(part for part in text.split("\n\n")[1:] if not part.startswith(("[", "|")))
    needs = sorted(set(re.findall(r"notebook (\d\d)", rows["You need"].split(";")[0])))
    return {"title": text.splitlines()[0].removeprefix("# "), "question": first, "rows": rows, "needs": needs}


def section(cell) -> int | None:
    """The number of the section that a cell opens, if it opens one."""
    found = re.match(r"## (\d+) · ", cell.source) if cell.cell_type == "markdown" else None
    return int(found[1]) if found else None


def is_instructor(cell) -> bool:
    return "instructor" in cell.metadata.get("tags", [])


def minute_plan(notebook) -> dict[int, int]:
    """Minutes of each section, from the instructor's cell: `§3 15' (exercise 1.1 live)` is a quarter of an hour."""
    text = "".join(cell.source for cell in notebook.cells if is_instructor(cell))
    return {int(number): int(minutes) for number, minutes in re.findall(r"§(\d+) (\d+)'", text)}


# ---- the site -------------------------------------------------------------------------------------------------------

# Names, brackets and operators have no colour of their own: without their spans a page has half the elements.
PLAIN = re.compile(r'<span class="(?:n|p|o|w)">([^<]*)</span>')


def exporter(base: type[HTMLExporter], name: str) -> HTMLExporter:
    return base(template_name=name, extra_template_basedirs=[str(TEMPLATES)], extra_template_paths=[str(TEMPLATES)],
                embed_images=True, exclude_anchor_links=True, exclude_input_prompt=True, exclude_output_prompt=True)


def figures(notebook):
    """(tags, alt text, PNG in base64) of every figure."""
    return [(cell.metadata.get("tags", []), output.metadata["image/png"]["alt"], output.data["image/png"])
            for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]


def thumbnail(notebook) -> dict | None:
    """The figure tagged `thumbnail`, else the first one, small; None where the notebook holds none."""
    found = sorted(figures(notebook), key=lambda figure: "thumbnail" not in figure[0])
    if not found:
        return None
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(found[0][2]))).convert("RGB")
    picture.thumbnail((640, 400))
    small = io.BytesIO()
    picture.quantize(256).save(small, "PNG")
    return {"alt": found[0][1], "png": base64.b64encode(small.getvalue()).decode()}


def prerequisite_map(pages: list[dict]) -> list[dict]:
    """Where each notebook stands on the map: column = longest way from a notebook that needs none, row = free place."""
    column, taken = {}, {}
    for page in pages:  # a notebook only needs earlier ones
        needs = [number for number in page["needs"] if number in column]
        column[page["number"]] = 1 + max((column[number] for number in needs), default=-1)
    places = []
    for page in pages:
        x = column[page["number"]]
        taken[x] = row = taken.get(x, -1) + 1
        places.append({**page, "x": 20 + 240 * x, "y": 20 + 90 * row})
    return places


def sources(notebooks) -> list[str]:
    """What the pages ran on, as they say it themselves."""
    printed = "".join(output.get("text", "") for notebook in notebooks for cell in notebook.cells
                      for output in cell.get("outputs", []))
    return sorted(set(re.findall(r"^(?:profile  [^:]+|images: [^;\n]+)", printed, re.MULTILINE)))


def make_site(paths: list[Path], out: Path) -> None:
    html = exporter(HTMLExporter, "site")
    library("mathjax", out)
    shutil.copy(TEMPLATES / "site" / "style.css", out)
    notebooks = [read(path) for path in paths]
    pages = [{**about(notebook), "number": path.stem[:2], "page": f"{path.stem}.html", "thumbnail": thumbnail(notebook)}
             for path, notebook in zip(paths, notebooks, strict=True)]
    for i, (path, notebook) in enumerate(zip(paths, notebooks, strict=True)):
        around = {"page": pages[i], "previous": pages[i - 1] if i else None,
                  "next": pages[i + 1] if i + 1 < len(pages) else None}
        text, _ = html.from_notebook_node(notebook, {"course": around, "metadata": {"name": path.stem}})
        (out / f"{path.stem}.html").write_text(PLAIN.sub(r"\1", text), encoding="utf-8")
    contents = html.environment.get_template("contents.html.j2")
    text = contents.render(pages=pages, places=prerequisite_map(pages), sources=sources(notebooks))
    (out / "index.html").write_text(text, encoding="utf-8")


# ---- the slides -----------------------------------------------------------------------------------------------------
# What the hall sees: section texts, figures, printed results, the question of each "Predict before you run", and the
# code of cells tagged `idea`. Other code is hidden. What is said about a figure (fragments) goes to the speaker notes.

def note(text: str):
    return nbformat.v4.new_markdown_cell(text, metadata={"slideshow": {"slide_type": "notes"}})


def kind(cell) -> str:
    return cell.metadata.get("slideshow", {}).get("slide_type", "-")


def for_the_hall(cell) -> list:
    """The cells that a cell of the notebook becomes in the deck."""
    if kind(cell) == "skip":
        return []
    if cell.cell_type == "code" and "idea" not in cell.metadata.get("tags", []):
        cell.metadata["transient"] = {"remove_source": True}
        return [cell] if cell.outputs else []
    if cell.cell_type == "markdown" and kind(cell) != "notes":
        quoted = kind(cell) == "fragment"  # of these only the question is shown
        parts = cell.source.split("\n\n")
        shown = [p for p in parts if p.startswith(">") or not (quoted or p.startswith("**References.**"))]
        said = [part for part in parts if part not in shown]
        cell.source = "\n\n".join(shown)
        if quoted:
            cell.metadata.slideshow.slide_type = "-"
        return [cell] * bool(shown) + [note("\n\n".join(said))] * bool(said)
    return [cell]


def clock(notebook) -> dict[int, str]:
    """A line for the notes of each section: when it begins and ends."""
    lines, now = {}, 0
    for number, minutes in minute_plan(notebook).items():
        lines[number] = f"**Minutes {now}–{now + minutes} of {LECTURE}** (section {number}: {minutes} minutes)"
        now += minutes
    return lines


def deck(notebook):
    """Make the notebook a deck: code hidden, a running head on each slide, notes with the clock, seconds per slide."""
    title, head, cells, clocks, asked = about(notebook)["title"], "", [], clock(notebook), False
    for cell in notebook.cells:
        number, starts = section(cell), kind(cell) in ("slide", "subslide")
        shown = for_the_hall(cell)
        if asked and shown and cell.cell_type == "code":  # the answer to "predict before you run" comes at the next key
            cell.metadata.slideshow.slide_type, asked = (kind(cell) if starts else "fragment"), False
        asked = asked or (bool(shown) and shown[0].source.startswith("> **Predict"))
        if number:
            head = cell.source.splitlines()[0].removeprefix("## ")
        if shown and starts and not shown[0].source.startswith("#"):
            shown[0].metadata["slideshow"] = {"slide_type": "-"}
            running = f'<p class="running">{title} <span>{head}</span></p>'
            shown.insert(0, nbformat.v4.new_markdown_cell(running, metadata={"slideshow": {"slide_type": "subslide"}}))
        if number in clocks:
            shown.append(note(clocks[number]))
        if "widgets.panel(" in cell.source:
            shown.append(note(f"**Panel:** in the notebook, {head}"))
        cells += shown
    cells[1:1] = [note("\n\n".join(["**Minute plan** (the clock above paces each slide)", *clocks.values()]))]
    notebook.cells, notebook.metadata["title"] = cells, title
    pace(notebook)
    return notebook


def pace(notebook) -> None:
    """Give each slide its share of its section's minutes; reveal.js shows it in the speaker view."""
    plan, number, slides = minute_plan(notebook), None, {}
    for cell in notebook.cells:
        number = section(cell) or number
        if kind(cell) in ("slide", "subslide"):
            slides.setdefault(number, []).append(cell)
    for number, cells in slides.items():
        for cell in cells:
            cell.metadata.slideshow["data"] = {"timing": str(round(60 * plan.get(number, 0) / len(cells)))}


def make_slides(paths: list[Path], out: Path) -> None:
    reveal = exporter(SlidesExporter, "slides")
    library("reveal", out)
    library("mathjax", out)
    shutil.copy(TEMPLATES / "slides" / "slides.css", out)
    for path in paths:
        text, _ = reveal.from_notebook_node(deck(read(path)), {"metadata": {"name": path.stem}})
        (out / f"{path.stem}.html").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("site", "slides"))
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all, in notebooks/")
    parser.add_argument("--out", type=Path, help="default: build/site or build/slides")
    options = parser.parse_args()
    out = options.out or BUILD / options.what
    out.mkdir(parents=True, exist_ok=True)
    paths = options.notebooks or sorted((ROOT / "notebooks").glob("0*.ipynb"))
    {"site": make_site, "slides": make_slides}[options.what](paths, out)
    first = "index" if options.what == "site" else paths[0].stem
    print(f"wrote {len(paths)} notebooks as {options.what}: open {out / first}.html")


if __name__ == "__main__":
    main()
