"""Interactive panels: a pure `draw(**values) -> Figure` under a row of controls; the same thing as a static picture."""

from __future__ import annotations

import html
import io
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

_LAYOUT = {"width": "420px"}
_STYLE = {"description_width": "150px"}


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
    """Controls above a picture; `.values` are the controls' values, `.picture` the drawn PNG."""

    def __init__(self, draw: Callable[..., Figure], controls: dict[str, ipywidgets.Widget]):
        self.draw, self.controls = draw, controls
        self.picture = ipywidgets.Image(format="png", layout={"max_width": "100%"})
        self.message = ipywidgets.HTML()
        self.start = self.values
        reset = ipywidgets.Button(description="Reset", icon="undo", tooltip="back to the first settings")
        reset.on_click(lambda _: self.reset())
        for name, control in controls.items():
            unit = getattr(control, "unit", "")
            control.description = name.replace("_", " ") + (f" ({unit})" if unit else "")
            control.observe(lambda _: self.redraw(), names="value")
        super().__init__([*controls.values(), reset, self.message, self.picture])
        self.redraw()

    @property
    def values(self) -> dict[str, Any]:
        return {name: control.value for name, control in self.controls.items()}

    def reset(self) -> None:
        for name, value in self.start.items():
            self.controls[name].value = value

    def redraw(self) -> None:
        """Draw with the current values; an exception shows in the panel, where the person who dragged can see it."""
        try:
            self.picture.value = _png(self.draw(**self.values))
            self.message.value = ""
        except Exception as error:  # noqa: BLE001  whatever the drawing raises belongs before the reader's eyes
            what = html.escape(f"{type(error).__name__}: {error}")
            self.message.value = f"<b>This setting cannot be drawn:</b> {what}"

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


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    plt.close(figure)
    return buffer.getvalue()


def _pixels(figure: Figure) -> np.ndarray:
    picture = plt.imread(io.BytesIO(_png(figure)))
    return picture[..., :3]
