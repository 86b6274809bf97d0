"""`make slides`: each deck opened from the disk with no network, at 1280 × 720: nothing clipped, large figures."""

import pages
import pytest

NOTEBOOKS = sorted((pages.ROOT / "notebooks").glob("0*.ipynb"))
MEASURE = """i => {
  const slide = Reveal.getSlides()[i], at = Reveal.getIndices(slide);
  Reveal.slide(at.h, at.v, 99);  // with all its fragments
  return MathJax.startup.promise.then(() => new Promise(done => setTimeout(done, 20))).then(() => ({
    text: slide.innerText.slice(0, 60), size: parseFloat(slide.style.fontSize), timing: Number(slide.dataset.timing),
    over: Math.max(slide.scrollHeight - slide.clientHeight, slide.scrollWidth - slide.clientWidth),
    cut: [...slide.querySelectorAll("pre")].filter(pre => pre.scrollWidth > pre.clientWidth + 1).length,
    code: slide.querySelectorAll(".highlight").length,
    figures: [...slide.querySelectorAll("img")].map(image => {
      const box = image.getBoundingClientRect(),
            scale = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);
      return [scale * image.naturalWidth / 1280, scale * image.naturalHeight / 720];
    }),
  }));
}"""


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    out = tmp_path_factory.mktemp("slides")
    pages.make_slides(NOTEBOOKS, out)
    return out


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def deck(browser, decks, request):
    """The deck of a notebook, opened in a browser without a network; `deck.wrong` holds what went wrong."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.wrong, page.executed = [], '"output_type"' in request.param.read_text(encoding="utf-8")
    page.on("console", lambda said: page.wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda asked: page.wrong.append(asked.url) if asked.url.startswith("http") else None)
    page.goto((decks / f"{request.param.stem}.html").as_uri())
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    yield page
    context.close()


def test_every_slide_fits_and_can_be_read_in_the_last_row(deck):
    slides = [deck.evaluate(MEASURE, i) for i in range(deck.evaluate("Reveal.getTotalSlides()"))]
    assert 15 <= len(slides) <= 60
    for slide in slides:
        assert slide["over"] <= 0 and slide["cut"] == 0, f"something is clipped: {slide}"
        assert slide["size"] >= 70, f"the letters got too small: {slide}"  # percent of 30 px in 720
        for width, height in slide["figures"]:
            assert width > 0.6 or height > 0.45, f"a figure is too small: {slide}"
    assert not deck.wrong, deck.wrong
    assert sum(slide["timing"] for slide in slides) == pytest.approx(60 * pages.LECTURE, abs=60)
    assert 1 <= sum(slide["code"] for slide in slides) <= 8, "code is on slides where it is the idea, and only there"
    if deck.executed:
        assert sum(len(slide["figures"]) for slide in slides) >= 8


def test_the_lecturer_has_notes_and_a_clock(deck):
    with deck.expect_popup() as opened:
        deck.keyboard.press("s")
    view = opened.value
    notes = view.locator(".speaker-controls-notes .value", has_text="Minute plan")
    notes.wait_for()
    assert "of 75" in notes.inner_text()
    assert view.locator(".pacing").is_visible(), "the clock that paces each slide"
    assert not deck.wrong, deck.wrong
