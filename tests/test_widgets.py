"""Panels: a control that moves redraws with its value, errors are shown to the person who moved it, statics agree."""

import asyncio
import base64
import io
import json
import re
import time
from xml.etree import ElementTree

import ipywidgets
import numpy as np
import pytest
from jupyter_client.manager import start_new_kernel
from matplotlib import pyplot as plt

from course_utils import widgets
from course_utils.widgets import choice, panel, slider, small_multiples, toggle


@pytest.fixture(autouse=True)
def closed():
    yield
    assert not plt.get_fignums(), "a figure was left open"


class Draw:
    """Draws a picture of one grey value, and notes what it was called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, **values):
        self.calls.append(values)
        if values.get("angle") == 45:
            raise ValueError("no <b>45</b> degrees")
        figure = plt.figure(figsize=(2, 1), facecolor=str(0.25 + values.get("angle", 0) / 400))
        return figure


@pytest.fixture
def draw():
    return Draw()


def png(shown):
    """The picture's bytes, out of its HTML element."""
    return base64.b64decode(re.search(r'src="data:image/png;base64,([^"]+)"', shown.picture.value)[1])


def test_a_panel_draws_its_first_settings(draw):
    shown = panel(draw, angle=slider(0, 90, 10), metric=choice(["l1", "l2"]), flip=toggle())
    assert draw.calls == [{"angle": 10, "metric": "l1", "flip": False}] == [shown.values] == [shown.drawn]
    assert plt.imread(io.BytesIO(png(shown))).shape[:2] == (widgets.DPI, 2 * widgets.DPI) and shown.message.value == ""


def test_the_page_carries_alt_text_and_the_values_that_were_drawn(draw):
    def titled(angle, name):
        figure = draw(angle=angle)
        figure.set_size_inches(4, 3)
        figure.suptitle("Turned <b>")
        figure.add_subplot(title="by\nhand")
        return figure

    shown = panel(titled, angle=slider(0, 90, 10, unit="degrees"), name=choice(['"a"', "b"]))
    image, = ElementTree.fromstring(f"<div>{shown.picture.value[:-1]}/></div>")
    assert image.get("alt") == 'Turned <b>. by, hand. Settings: angle (degrees) 10; name "a"'
    assert json.loads(image.get("data-drawn")) == {"angle": 10, "name": '"a"'}
    assert (image.get("width"), image.get("height")) == (str(4 * widgets.DPI), str(3 * widgets.DPI))


def test_a_figure_that_cannot_be_written_is_closed(draw, monkeypatch):
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: 1 / 0)
    assert "ZeroDivisionError" in panel(draw, angle=slider(0, 90, 10)).message.value


def test_moving_a_control_redraws_with_all_values(draw):
    shown = panel(draw, angle=slider(0, 90, 10), metric=choice(["l1", "l2"], "l2"))
    before = shown.picture.value
    shown.controls["angle"].value = 60
    assert draw.calls[1:] == [{"angle": 60, "metric": "l2"}] and shown.picture.value != before
    shown.controls["metric"].value = "l1"
    assert draw.calls[-1] == {"angle": 60, "metric": "l1"} and len(draw.calls) == 3


def test_an_exception_shows_in_the_panel_and_the_next_setting_clears_it(draw):
    shown = panel(draw, angle=slider(0, 90, 10))
    before = shown.picture.value
    shown.controls["angle"].value = 45
    assert "cannot be drawn" in shown.message.value and "ValueError: no" in shown.message.value
    assert "&lt;b&gt;45" in shown.message.value and shown.picture.value == before
    shown.controls["angle"].value = 46
    assert shown.message.value == "" and shown.picture.value != before


def test_many_changes_in_one_go_are_drawn_once(draw):
    async def drag():
        shown = panel(draw, angle=slider(0, 90, 10))
        for angle in range(11, 44):
            shown.controls["angle"].value = angle
        assert len(draw.calls) == 1
        await asyncio.sleep(widgets.REST * 20)
        return shown

    shown = asyncio.run(drag())
    assert draw.calls == [{"angle": 10}, {"angle": 43}] and shown.drawn == {"angle": 43} and shown.drawings == 2


def test_a_hand_that_never_rests_still_sees_pictures(draw):
    async def drag():
        shown = panel(draw, angle=slider(0, 10**6, 10))
        until = time.monotonic() + 1
        while time.monotonic() < until:
            shown.controls["angle"].value += 1
            await asyncio.sleep(widgets.REST / 5)

    asyncio.run(drag())
    assert 3 <= len(draw.calls) <= 8


def test_a_kernel_skips_the_messages_that_queued_while_it_drew():
    code = """
import time
from matplotlib.figure import Figure
from course_utils import widgets

def slow(k):
    time.sleep(0.2)
    return Figure(figsize=(1, 1))

shown = widgets.panel(slow, k=widgets.slider(0, 1000, 0))
"""
    manager, client = start_new_kernel()
    try:
        assert client.execute_interactive(code, timeout=60)["content"]["status"] == "ok"

        def ask(expression):
            reply = client.execute("", user_expressions={"it": expression}, reply=True, timeout=30)
            return eval(reply["content"]["user_expressions"]["it"]["data"]["text/plain"])

        comm = ask("shown.controls['k'].comm.comm_id")
        for k in range(1, 101):  # sent within milliseconds, read one by one
            state = {"method": "update", "state": {"value": k}, "buffer_paths": []}
            client.shell_channel.send(client.session.msg("comm_msg", {"comm_id": comm, "data": state}))
        end = time.monotonic() + 20
        while ask("shown.drawn['k']") != 100:
            assert time.monotonic() < end, "the last value was never drawn"
        assert ask("shown.drawings") <= 4  # the first, the last, and little between
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_reset_goes_back_to_the_first_settings(draw):
    shown = panel(draw, angle=slider(0, 90, 10), flip=toggle(True))
    before = shown.picture.value
    shown.controls["angle"].value, shown.controls["flip"].value = 80, False
    button, = [child for child in shown.children[0].children if isinstance(child, ipywidgets.Button)]
    button.click()
    assert shown.values == {"angle": 10, "flip": True} == draw.calls[-1] and shown.picture.value == before


def test_controls_are_named_with_their_units(draw):
    shown = panel(draw, noise_level=slider(0, 1.0, 0.5, unit="σ"), flip=toggle())
    assert [control.description for control in shown.controls.values()] == ["noise level (σ)", "flip"]
    assert shown.children[0].children[:2] == tuple(shown.controls.values())


def test_sliders_are_whole_where_their_numbers_are():
    whole, step = slider(0, 10, 3), slider(-180, 180, 0, step=15)
    assert isinstance(whole, ipywidgets.IntSlider) and (whole.min, whole.max, whole.step) == (0, 10, 1)
    assert isinstance(step, ipywidgets.IntSlider) and step.step == 15
    for control, expected in ((slider(0.0, 2.0, 1.0), 0.02), (slider(0, 1, 0, step=0.1), 0.1)):
        assert isinstance(control, ipywidgets.FloatSlider) and control.step == pytest.approx(expected)
    with pytest.raises(ValueError, match="value 11 lies outside its range 0 … 10"):
        slider(0, 10, 11)


def test_a_choice_starts_with_its_first_option():
    assert choice(["a", "b"]).value == "a" and choice([3, 0], 0).value == 0


def test_a_panel_says_in_plain_text_that_it_needs_a_running_notebook(draw):
    bundle = panel(draw, angle=slider(0, 90, 10))._repr_mimebundle_()
    assert "run this notebook" in bundle["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_the_static_form_shows_the_panels_own_pictures(draw):
    figure = small_multiples(draw, angle=[0, 90, 180], metric=["l1", "l2"])
    plt.close(figure)
    assert draw.calls == [{"angle": angle, "metric": metric} for angle in (0, 90, 180) for metric in ("l1", "l2")]
    axes = np.array(figure.axes).reshape(3, 2)  # the first list runs down the rows
    for row, angle in zip(axes, (0, 90, 180), strict=True):
        for axis in row:
            assert axis.images[0].get_array().mean() == pytest.approx(0.25 + angle / 400, abs=0.01)
            assert not axis.axison


def test_one_list_makes_one_row_or_one_column(draw):
    figure = small_multiples(draw, angle=[0, 10, 20])
    plt.close(figure)
    grid = figure.axes[0].get_subplotspec().get_gridspec()
    assert sorted((grid.nrows, grid.ncols)) == [1, 3]
    assert [axis.images[0].get_array().shape for axis in figure.axes] == [(100, 200, 3)] * 3


def test_no_list_or_three_are_refused(draw):
    for lists in ({}, {"a": [1], "b": [1], "c": [1]}):
        with pytest.raises(ValueError, match=f"one or two lists of values, got {len(lists)}"):
            small_multiples(draw, **lists)


def test_an_exception_in_a_static_picture_is_not_swallowed(draw):
    with pytest.raises(ValueError, match="45"):
        small_multiples(draw, angle=[0, 45])


def test_pictures_lose_nothing_on_the_way():
    figure = plt.figure(figsize=(1, 1), facecolor=(0.2, 0.4, 0.6))
    assert np.allclose(widgets._pixels(figure), (0.2, 0.4, 0.6), atol=1 / 255)
