"""`make site`: each page opened from the disk with no network, in light and dark, and checked by axe-core."""

import os
from pathlib import Path

import pages
import pytest

NOTEBOOKS = sorted((pages.ROOT / "notebooks").glob("0*.ipynb"))
NAMES = ["index", *(path.stem for path in NOTEBOOKS)]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("site")
    pages.make_site(NOTEBOOKS, out)
    return out


@pytest.fixture(params=["light", "dark"])
def page(browser, request):
    """An empty page of a browser without a network that notes what goes wrong in `page.wrong`."""
    context = browser.new_context(color_scheme=request.param, offline=True, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.wrong, page.scheme = [], request.param
    page.on("console", lambda said: page.wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda asked: page.wrong.append(asked.url) if asked.url.startswith("http") else None)
    yield page
    context.close()


def opened(page, site, name):
    page.goto((site / f"{name}.html").as_uri())
    page.evaluate("MathJax.startup.promise")
    return page


@pytest.mark.parametrize("name", NAMES)
def test_nobody_is_shut_out(page, site, name):
    if os.environ.get("COURSE_BROWSER") != "1":
        pytest.importorskip("axe_playwright_python", reason="no axe-core here: pip install -e '.[browser]'")
    from axe_playwright_python.sync_playwright import Axe

    opened(page, site, name)
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    options = {"preload": False, "resultTypes": ["violations"]}
    if page.scheme == "dark":  # only the colours differ
        options["runOnly"] = ["color-contrast"]
    found = Axe().run(page, options=options).response["violations"]
    worst = [f"{one['id']} ({one['impact']}): {[node['html'][:120] for node in one['nodes'][:3]]}"
             for one in found if one["impact"] in ("serious", "critical")]
    assert not worst, "\n".join(worst)


@pytest.mark.parametrize("name", NAMES)
def test_formulas_are_set_and_figures_have_alt_text_and_no_panel_is_dead(page, site, name):
    opened(page, site, name)
    assert page.locator("mjx-container").count() > 0
    assert page.locator("mjx-merror").count() == 0
    assert page.evaluate("[...document.images].every(image => image.naturalWidth && image.alt.length > 20)")
    assert not page.wrong, page.wrong
    html = page.content()
    assert "widget-view" not in html and "widget-state" not in html
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"


def test_the_theme_follows_the_system_and_then_the_reader(page, site):
    opened(page, site, "index")
    ground = "getComputedStyle(document.body).backgroundColor"
    before, button = page.evaluate(ground), page.locator("#theme")
    assert button.get_attribute("aria-pressed") == str(before != "rgb(255, 255, 255)").lower()
    button.press("Enter")
    chosen = page.evaluate(ground)
    assert chosen != before
    page.get_by_role("link", name="01 · Pixel space").first.click()
    page.wait_for_url("**/01_pixel_space.html", wait_until="load")
    assert page.evaluate(ground) == chosen


def test_a_keyboard_is_enough(page, site):
    opened(page, site, NAMES[1])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0, "with the focus on it, it shows"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for name in NAMES[2:]:
        page.locator("header a[rel=next]").press("Enter")
        page.wait_for_url(f"**/{name}.html")
    assert page.locator("a[rel=next]").count() == 0
    page.locator("header a[rel=prev]").press("Enter")
    page.wait_for_url(f"**/{NAMES[-2]}.html")


def test_the_contents_name_each_notebook_and_what_it_needs(page, site):
    opened(page, site, "index")
    assert page.locator(".cards li").count() == page.locator(".map a").count() == len(NOTEBOOKS)
    links = page.evaluate("[...document.querySelectorAll('main a')].map(link => link.getAttribute('href'))")
    assert {f"{name}.html" for name in NAMES[1:]} == set(links)
    assert page.locator(".arrow").count() == page.locator(".cards dd", has_text="notebook 0").count()


def test_sections_can_be_jumped_to(page, site):
    opened(page, site, NAMES[1])
    page.locator(".sections summary").press("Enter")
    link = page.locator(".sections a").nth(3)
    link.press("Enter")
    heading = page.locator("main h2").nth(3)
    assert heading.inner_text() == link.inner_text()
    assert abs(heading.bounding_box()["y"]) < 200
