"""Every panel of every notebook, moved by keyboard in a real browser; what is drawn must match the controls.

Leaves a screenshot of each panel and `latency.json` (key press to new picture, in seconds) in build/browser.
"""

import json
import statistics
import time
import urllib.request

import pytest
from conftest import BUILD, ROOT
from jupyter_client import BlockingKernelClient

PANELS = {"01_pixel_space": ["push"], "02_supervised_features": ["two_spaces", "with_few_labels"],
          "03_medical_transfer": ["look"], "04_rotation_prediction": ["which_way_up"],
          "05_triplet_loss": ["plane", "spread_out"], "06_simclr": ["explore", "embedding", "who_pushes"],
          "07_moco": ["dictionary"]}

# Time from the key press to the first frame with the new picture in it, seen from inside the page.
STOPWATCH = """panel => {
    window.pressed = window.seen = null
    const start = () => { window.pressed = performance.now(); window.seen = null }
    window.addEventListener('keydown', start, true)
    new MutationObserver(async changes => {
        if (!changes.some(change => [...change.addedNodes].some(node => node.nodeName == 'IMG'))) return
        await panel.querySelector('img').decode().catch(() => {})
        requestAnimationFrame(() => { window.seen = performance.now() })
    }).observe(panel, {childList: true, subtree: true})
}"""
# A control's value as its reader sees it: a slider's read-out, a list's chosen entry, a box's tick.
VALUES = """panel => [...panel.querySelectorAll('.widget-slider, .widget-dropdown, .widget-checkbox')].map(control =>
    control.matches('.widget-dropdown') ? control.querySelector('select').selectedOptions[0].text :
    control.matches('.widget-checkbox') ? control.querySelector('input').checked :
    control.querySelector('.widget-readout').textContent)"""

CLIPPED = """panel => [...panel.querySelectorAll('.widget-label')].filter(label =>
    label.scrollWidth > label.clientWidth).map(label => label.textContent)"""


class Kernel:
    """A second client of the notebook's kernel, beside the page."""

    def __init__(self, lab, notebook):
        """Waits until the kernel of notebooks/<notebook>.ipynb has started and the page is connected to it."""
        self.lab, folder = lab, lab[2]
        give_up = time.monotonic() + 120
        while True:
            mine = [session for session in json.loads(self.server("/api/sessions"))
                    if session["path"] == f"notebooks/{notebook}.ipynb"]
            if mine and mine[0]["kernel"]["execution_state"] == "idle" and mine[0]["kernel"]["connections"]:
                break
            assert time.monotonic() < give_up, f"no kernel for {notebook} after two minutes: {mine}"
            time.sleep(0.25)
        self.session = f"/api/sessions/{mine[0]['id']}"
        self.client = BlockingKernelClient(connection_file=str(folder / f"kernel-{mine[0]['kernel']['id']}.json"))
        self.client.load_connection_file()
        self.client.start_channels()
        self.ask("__import__('sys').path.insert(0, {!r})", str(ROOT / "tests" / "browser"))

    def server(self, path, method="GET"):
        address, token, _ = self.lab
        request = urllib.request.Request(address + path, method=method, headers={"Authorization": f"token {token}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def ask(self, expression, *values):
        """The value of a Python expression in the kernel."""
        code = f"__import__('json').dumps({expression.format(*values)})"
        reply = self.client.execute("", silent=True, user_expressions={"it": code}, reply=True, timeout=60)
        answer = reply["content"]["user_expressions"]["it"]
        assert answer["status"] == "ok", "\n".join(answer["traceback"])
        return json.loads(eval(answer["data"]["text/plain"]))

    def close(self):
        self.client.stop_channels()
        self.server(self.session, "DELETE")


@pytest.fixture(params=PANELS)
def notebook(request, browser, lab):
    """The notebook, open in JupyterLab and run to its end; its page, its kernel, and what the console said."""
    address, token, _ = lab
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    errors = []
    page.on("console", lambda m: errors.append(f"{m.text} ({m.location['url']})") if m.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    kernel = None
    try:
        # A workspace of its own, or JupyterLab would open the notebook of the test before, too.
        page.goto(f"{address}/lab/workspaces/{request.param}/tree/notebooks/{request.param}.ipynb?token={token}")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        kernel = Kernel(lab, request.param)
        page.wait_for_selector("[data-status=idle]", timeout=60_000, state="attached")
        run_all(page, kernel)
        failed = page.locator("[data-mime-type='application/vnd.jupyter.error']").all_inner_texts()
        yield request.param, page, kernel, errors, failed
    finally:  # or page and kernel would go on beside the next notebook's
        page.close()
        if kernel is not None:
            kernel.close()


def run_all(page, kernel):
    """Run > Run All Cells, and wait for the last cell."""
    from playwright.sync_api import TimeoutError

    for last in (False, False, True):  # while the page is still being put together, a menu's click can go nowhere
        try:
            page.get_by_role("menuitem", name="Run", exact=True).click(timeout=20_000)
            page.get_by_text("Run All Cells", exact=True).click(timeout=20_000)
            page.wait_for_selector(".jp-InputPrompt:text-is('[*]:')", timeout=20_000, state="attached")
            break
        except TimeoutError:
            if kernel.ask("get_ipython().execution_count") > 1:  # it runs, or has run; twice would be wrong
                break
            if last:
                raise
            page.keyboard.press("Escape")  # whatever is open
    page.wait_for_function("""() => ![...document.querySelectorAll('.jp-InputPrompt')].some(p =>
        p.textContent.includes('*'))""", timeout=240_000, polling=250)


class Panel:
    """One panel on the page, number i in its notebook."""

    def __init__(self, page, kernel, i):
        self.page, self.kernel, self.i = page, kernel, i
        self.at = page.locator(".course-panel").nth(i)
        self.at.scroll_into_view_if_needed()
        self.at.evaluate(STOPWATCH)

    def shown(self):
        return self.at.evaluate(VALUES)

    def drawn(self):
        return json.loads(self.at.locator("img").get_attribute("data-drawn"))

    def press(self, key):
        """Press a key; wait for the picture it makes; seconds from one to the other."""
        self.page.keyboard.press(key)
        self.page.wait_for_function("window.pressed !== null && window.seen > window.pressed", timeout=10_000)
        return self.page.evaluate("(window.seen - window.pressed) / 1000")

    def rest(self):
        """Wait until nothing is left to be drawn."""
        self.page.wait_for_timeout(100)
        while self.kernel.ask("__import__('artists').panels()[{}]._due is not None", self.i):
            self.page.wait_for_timeout(20)
        self.page.wait_for_timeout(100)

    def report(self):
        """The kernel's account; asserts that the controls, the picture on the page and its artists are of one mind."""
        told = self.kernel.ask("__import__('artists').report({}, {!r})", self.i, self.shown())
        assert self.drawn() == told["drawn"] == told["values"], "the picture is of other values than the controls show"
        assert told["on show"] == told["drawn again"], "the figure's data are not what draw() makes of these values"
        assert told["claim"] == "holds", told["claim"]
        assert told["message"] == ""
        image = self.at.locator("img")
        assert image.get_attribute("src") in told["element"], "the page shows another picture than the kernel's"
        assert len(image.get_attribute("alt")) > 20
        assert image.evaluate("img => img.complete && img.naturalWidth > 0")
        return told

    def controls(self):
        """The controls, top to bottom: what takes the keys, and the key that changes it and the one that undoes it."""
        for box in self.at.locator(".widget-slider, .widget-dropdown, .widget-checkbox").all():
            kind = box.get_attribute("class")
            if "slider" in kind:
                yield box.locator(".noUi-handle"), ("ArrowRight", "ArrowLeft")
            elif "dropdown" in kind:
                yield box.locator("select"), ("ArrowDown", "ArrowUp")
            else:
                yield box.locator("input"), ("Space", "Space")


    def reach(self, control):
        """Walk to a control with the tab key, as one without a mouse does: past the read-out of the one before."""
        for _ in range(3):
            if control.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        assert control.evaluate("element => element === document.activeElement"), f"not reached by Tab: {control}"

    def move(self, keys):
        """Press there and back on the control that has the focus; the drawn data must follow.

        Returns the seconds per picture, and the key that changes the control with the one that undoes it.
        """
        before, (forth, back) = self.report(), keys
        self.page.keyboard.press(forth)
        self.rest()
        if self.drawn() == before["drawn"]:  # it stood at its end
            forth, back = back, forth
            self.press(forth)
        after = self.report()
        changed = [name for name, value in before["drawn"].items() if after["drawn"][name] != value]
        assert len(changed) == 1, f"one control was moved, these changed: {changed}"
        assert before["on show"] != after["on show"], f"{changed[0]} was moved, and the figure's data stayed"
        times = [self.press(key) for key in (back, forth, back, forth, back)]
        assert self.report()["on show"] == before["on show"]
        print(f"  {changed[0]}: {statistics.median(times):.2f} s")
        return times, (forth, back)

    def burst(self, keys, presses=44):
        """Many quick presses, four forth, four back, and so on: how many pictures were drawn."""
        drawings = f"__import__('artists').panels()[{self.i}].drawings"
        before = self.kernel.ask(drawings)
        for k in range(presses):
            self.page.keyboard.press(keys[k // 4 % 2])
        self.rest()
        self.report()
        return self.kernel.ask(drawings) - before


def still(panel, path):
    """A screenshot, once two in a row are alike: after a burst a browser without a GPU paints in pieces."""
    before = None
    for _ in range(8):
        now = panel.at.screenshot(path=path)
        if now == before:
            return
        before = now
        panel.page.wait_for_timeout(1000)


def try_out(panel, shot):
    """All controls by keyboard, Reset, a burst: seconds from key press to picture, for every timed press."""
    still(panel, f"{shot}.png")
    clipped = panel.at.evaluate(CLIPPED)
    assert not clipped, f"labels that the reader cannot read to the end: {clipped}"
    start, times = panel.report(), []
    controls = list(panel.controls())
    controls[0][0].focus()
    ways = []
    for control, keys in controls:  # each from the first settings: under some, another control has nothing to change
        panel.reach(control)
        took, way = panel.move(keys)
        times += took
        ways.append(way)
    reset = panel.at.get_by_role("button", name="Reset")
    panel.reach(reset)
    controls[0][0].focus()
    drawings = panel.burst(ways[0])
    print(f"  44 presses in a burst: {drawings} pictures")
    assert drawings <= 22, "the panel drew what had been overtaken"
    still(panel, f"{shot}_moved.png")
    assert panel.drawn() != start["drawn"]
    reset.focus()
    panel.page.keyboard.press("Enter")
    panel.rest()
    told = panel.report()
    assert told["values"] == told["start"] and told["on show"] == start["on show"], "Reset leads elsewhere"
    return times


def test_panels(notebook, latencies):
    name, page, kernel, errors, failed = notebook
    assert not failed, failed
    assert page.locator(".course-panel").count() == len(PANELS[name])
    for i, draw in enumerate(PANELS[name]):
        panel = Panel(page, kernel, i)
        assert kernel.ask("__import__('artists').panels()[{}].draw.__name__", i) == draw
        print(f"{name[:2]} {draw}")
        times = try_out(panel, BUILD / f"{name[:2]}_{draw}")
        latencies[f"{name[:2]} {draw}"] = {"median": round(statistics.median(times), 3), "worst": round(max(times), 3),
                                           "presses": len(times)}
    assert not errors, errors


def test_pictures_follow_the_keys_at_once(latencies):
    if len(latencies) < sum(map(len, PANELS.values())):
        pytest.skip("not all panels were timed in this run")
    medians = [panel["median"] for panel in latencies.values()]
    assert statistics.median(medians) < 0.4 and max(medians) < 1, latencies
