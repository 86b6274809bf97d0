"""Interactive panels: a pure `draw(**values) -> Figure` under a row of controls; the same thing as a static picture."""

from __future__ import annotations

import asyncio
import base64
import html
import io
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

DPI = 120  # on a page as wide as the figure in inches times this many pixels: 12-point words for the last row
REST = 0.01  # seconds without a change before a panel draws

_LAYOUT = {"width": "460px"}
_STYLE = {"description_width": "170px"}
# Controls that the last row can read (the theme's own are 13 pixels), and whose keys reach them: JupyterLab would take
# an arrow pressed in a list for "go to the next cell", unless the element in focus carries this attribute.
_PAGE = """<style onload="this.closest('.course-panel').addEventListener('focusin',
    event => event.target.setAttribute('data-lm-suppress-shortcuts', 'true'))">
.course-panel { --jp-widgets-font-size: 17px; --jp-widgets-inline-height: 34px }</style>"""


def slider(lo: float, hi: float, value: float, step: float | None = None, unit: str = "") -> ipywidgets.Widget:
    """A slider from lo to hi; integer steps where lo, hi, value and step are integers. ValueError outside the range."""
    if not lo <= value <= hi:
        raise ValueError(f"the slider's value {value} lies outside its range {lo} … {hi}")
    whole = all(isinstance(v, int) for v in (lo, hi, value, 1 if step is None else step))
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    step = step or (1 if whole else (hi - lo) / 100)
    control = kind(min=lo, max=hi, value=value, step=step, layout=_LAYOUT, style=_STYLE)
    control.unit = unit
    return control


def choice(options: Sequence[Any], value: Any = None) -> ipywidgets.Widget:
    """A drop-down list."""
    value = options[0] if value is None else value
    return ipywidgets.Dropdown(options=options, value=value, layout=_LAYOUT, style=_STYLE)


def toggle(value: bool = False) -> ipywidgets.Widget:
    """A check box."""
    return ipywidgets.Checkbox(value=value, indent=True, layout=_LAYOUT, style=_STYLE)


class Panel(ipywidgets.VBox):
    """Controls above a picture.

    `.values` are the controls' values; `.figure` is the figure on show, closed but with all its artists, and `.drawn`
    the values that it was drawn from, which the page carries as the picture's `data-drawn` beside its alt text.
    """

    def __init__(self, draw: Callable[..., Figure], controls: dict[str, ipywidgets.Widget]):
        self.draw, self.controls = draw, controls
        self.picture = ipywidgets.HTML()  # not ipywidgets.Image, which has no alt text
        self.message = ipywidgets.HTML()
        self.start = self.values
        self.figure, self.drawn, self.drawings = None, None, 0
        self._due, self._waiting_since = None, 0.0
        reset = ipywidgets.Button(description="Reset", icon="undo", tooltip="back to the first settings")
        reset.on_click(lambda _: self.reset())
        for name, control in controls.items():
            unit = getattr(control, "unit", "")
            control.description = name.replace("_", " ") + (f" ({unit})" if unit else "")
            control.observe(lambda _: self._redraw_soon(), names="value")
        row = ipywidgets.Box([*controls.values(), reset, ipywidgets.HTML(_PAGE)], layout={"flex_flow": "row wrap"})
        super().__init__([row, self.message, self.picture])
        self.add_class("course-panel")
        self.redraw()

    @property
    def values(self) -> dict[str, Any]:
        """Rounded: a browser's slider counts its steps from the left, and sends 1.2000000000000002 for 1.2."""
        return {name: round(control.value, 10) if isinstance(control.value, float) else control.value
                for name, control in self.controls.items()}

    def reset(self) -> None:
        for name, value in self.start.items():
            self.controls[name].value = value

    def _redraw_soon(self) -> None:
        """Draw once the controls rest.

        While a picture is drawn, the messages of a dragged slider queue up. They are all read before the next picture,
        which shows the newest value; but a hand that never rests sees a picture every quarter of a second.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel, so nothing queues
            return self.redraw()
        if self._due is None:
            self._waiting_since = loop.time()
        else:
            self._due.cancel()
        rest = REST if loop.time() - self._waiting_since < 0.25 else 0
        self._due = loop.call_later(rest, self.redraw)

    def redraw(self) -> None:
        """Draw with the current values; an exception shows in the panel, where the person who dragged can see it."""
        self._due = None
        values = self.values
        try:
            figure = self.draw(**values)
            self.picture.value = _img(figure, values, _alt(figure, self.controls, values))
            self.figure, self.drawn, self.drawings = figure, values, self.drawings + 1
            self.message.value = ""
        except Exception as error:  # noqa: BLE001  whatever the drawing raises belongs before the reader's eyes
            what = html.escape(f"{type(error).__name__}: {error}")
            self.message.value = f"<b role='alert'>This setting cannot be drawn:</b> {what}"

    def _repr_mimebundle_(self, **options):
        data = super()._repr_mimebundle_(**options)
        data["text/plain"] = "Interactive panel: run this notebook to move its controls. Its static form is above."
        return data


def panel(draw: Callable[..., Figure], /, **controls: ipywidgets.Widget) -> Panel:
    """An interactive panel: `draw` is called with the value of each control whenever one changes, and must be pure."""
    return Panel(draw, controls)


def small_multiples(draw: Callable[..., Figure], /, **values: Sequence[Any]) -> Figure:
    """The panel as one static figure: `draw` for every combination of at most two lists of values.

    The first list runs down the rows, the last along the columns; ValueError for none or more than two.
    """
    if not 1 <= len(values) <= 2:
        raise ValueError(f"small multiples take one or two lists of values, got {len(values)}")
    names, lists = list(values), list(values.values())
    pictures = [_pixels(draw(**dict(zip(names, combination, strict=True))))
                for combination in itertools.product(*lists)]
    height, width = pictures[0].shape[:2]
    rows, columns = len(lists[0]), len(lists[-1])
    if len(lists) == 1:  # one list: wide pictures below each other, others side by side
        rows, columns = (rows, 1) if width > 2 * height else (1, columns)
    full = min(12, columns * width / 90)  # inches; a little larger than the panel's own picture, where the page allows
    figure, axes = plt.subplots(rows, columns, squeeze=False, layout="constrained",
                                figsize=(full, full / columns * height / width * rows))
    for axis, picture in zip(axes.flat, pictures, strict=True):
        axis.imshow(picture, interpolation="antialiased")
        axis.axis("off")
    return figure


def _img(figure: Figure, values: dict[str, Any], alt: str) -> str:
    """The picture as an HTML element. Its size is known and it is decoded at once, so that nothing flickers."""
    png = _png(figure, DPI)
    width, height = (round(inches * DPI) for inches in figure.get_size_inches())
    return (f'<img alt="{html.escape(alt)}" data-drawn="{html.escape(json.dumps(values))}" decoding="sync" '
            f'width="{width}" height="{height}" style="max-width: 100%; height: auto" '
            f'src="data:image/png;base64,{base64.b64encode(png).decode()}">')


def _alt(figure: Figure, controls: dict[str, ipywidgets.Widget], values: dict[str, Any]) -> str:
    """The figure's own titles and the settings in words: "turned by 30°. Settings: image 66; angle (degrees) 30"."""
    titles = [figure.get_suptitle()] + [axis.get_title(loc) for axis in figure.axes for loc in ("center", "left")]
    settings = "; ".join(f"{control.description} {values[name]}" for name, control in controls.items())
    return ". ".join([title.replace("\n", ", ") for title in titles if title] + [f"Settings: {settings}"])


def _png(figure: Figure, dpi: int) -> bytes:
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, format="png", dpi=dpi, pil_kwargs={"compress_level": 1})  # no further than the page
    finally:
        plt.close(figure)
    return buffer.getvalue()


def _pixels(figure: Figure) -> np.ndarray:
    picture = plt.imread(io.BytesIO(_png(figure, 100)))
    return picture[..., :3]
