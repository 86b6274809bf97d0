"""Figures of the course: one look, colours that survive colour blindness, alt text on every picture."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import PIL.Image
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

if TYPE_CHECKING:
    import pandas

# Okabe & Ito's palette, which stays apart under the common forms of colour blindness.
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
COLORS = (BLUE, ORANGE, GREEN, PINK, SKY, VERMILION)
STYLE = {"font.size": 12, "axes.titlesize": 13, "axes.spines.top": False, "axes.spines.right": False,
         "axes.prop_cycle": mpl.cycler(color=COLORS), "figure.facecolor": "white", "legend.frameon": False,
         "lines.linewidth": 2, "figure.constrained_layout.use": True}
mpl.rcParams.update(STYLE)


def show(figure: Figure, alt: str) -> None:
    """Display a figure and close it; `alt` says in words what it shows, for those who cannot see it (required)."""
    from IPython.display import Image, display

    if not alt.strip():
        raise ValueError("every figure needs alt text: one sentence that says what it shows")
    picture, small = as_picture(figure), io.BytesIO()
    picture.save(small, "PNG", optimize=True)
    width = picture.width * 80 // 104  # drawn at 104 dpi, shown at 80: sharp on a projector
    display(Image(data=small.getvalue(), format="png", width=width, alt=alt))


def as_picture(figure: Figure) -> PIL.Image.Image:
    """The figure in 256 colours, closed: it looks the same, and notebooks with outputs have a third of the size."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=104, bbox_inches="tight")
    plt.close(figure)
    return PIL.Image.open(drawn).convert("RGB").quantize(256)


def as_array(images: Tensor) -> np.ndarray:
    """Images [N, C, H, W], uint8 or float in [0, 1], as float [N, H, W, 3] for matplotlib."""
    images = images.detach().cpu()
    images = images.float() / 255 if images.dtype == torch.uint8 else images.float().clamp(0, 1)
    return images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def montage(axis: Axes, images: Tensor, columns: int, *, gap: int | None = None,
            frames: Sequence[str | None] | None = None) -> np.ndarray:
    """Draw images [N, C, H, W] as a grid on one axes (forty axes would be slow); frames: a colour or None for each.

    Returns the centre of each image in the axes' coordinates, [N, 2] as x, y.
    """
    pictures = as_array(images)
    n, height, width, _ = pictures.shape
    gap = max(2, height // 10) if gap is None else gap
    rows = -(-n // columns)
    canvas = np.ones((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), dtype=np.float32)
    centres = np.zeros((n, 2))
    for i, picture in enumerate(pictures):
        top, left = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        canvas[top:top + height, left:left + width] = picture
        centres[i] = left + width / 2 - 0.5, top + height / 2 - 0.5
        if frames is not None and frames[i]:
            axis.add_patch(plt.Rectangle((left - 1, top - 1), width + 1, height + 1, fill=False, lw=3, ec=frames[i]))
    axis.imshow(canvas, interpolation="nearest")
    axis.axis("off")
    return centres


def image_row(images: Tensor, titles: Sequence[str] | None = None, *, columns: int | None = None,
              size: float = 1.4) -> Figure:
    """A row (or grid) of images, each `size` inches, with a title above each."""
    columns = columns or len(images)
    rows = -(-len(images) // columns)
    height = size + (0.35 if titles else 0)
    figure, axes = plt.subplots(rows, columns, squeeze=False, figsize=(size * columns, height * rows))
    for axis in axes.flat:
        axis.axis("off")
    for i, picture in enumerate(as_array(images)):
        axes.flat[i].imshow(picture, interpolation="nearest")
        if titles is not None:
            axes.flat[i].set_title(titles[i], fontsize=11)
    return figure


def neighbor_grid(queries, bank, index: Tensor, *, title: str, axis: Axes | None = None, legend: bool = True) -> Figure:
    """Each query of an ImageSet with its nearest neighbours in another: index int64 [N, k] into `bank`.

    The query stands left; neighbours of the query's class have a blue frame, the others none. title says under which f.
    """
    n, k = index.shape
    index = index.cpu()
    if axis is None:
        _, axis = plt.subplots(figsize=(0.85 * (k + 1) + 0.6, 0.85 * n + 0.9))
    neighbours = bank.images.cpu()[index]  # [n, k, C, H, W]
    rows = torch.cat([queries.images.cpu()[:, None], neighbours], dim=1)  # [n, k + 1, C, H, W]
    same = bank.labels.cpu()[index] == queries.labels.cpu()[:, None]
    frames = [frame for row in same for frame in (BLACK, *(BLUE if hit else None for hit in row))]
    centres = montage(axis, rows.flatten(0, 1), k + 1, frames=frames).reshape(n, k + 1, 2)
    for row, label in zip(centres, queries.labels.tolist(), strict=True):
        axis.text(-2, row[0, 1], queries.classes[label], ha="right", va="center", fontsize=11)
    if legend:
        title += f"\nquery (black frame) and its {k} nearest; blue frame: same class, {same.float().mean():.0%}"
    axis.set_title(title, fontsize=12, loc="left")
    return axis.figure


def bars(labels: Sequence[str], values: Sequence[float], intervals: Sequence[tuple[float, float]] | None = None, *,
         title: str, xlabel: str, chance: float | None = None, color: str = BLUE, axis: Axes | None = None) -> Figure:
    """Horizontal bars, first on top, with the value written beside each and 95 % intervals where given."""
    if axis is None:
        _, axis = plt.subplots(figsize=(8, 0.5 * len(labels) + 1.4))
    y = np.arange(len(labels))
    axis.barh(y, values, color=color, height=0.65)
    tops = list(values)
    if intervals is not None:
        low, high = np.array(intervals, dtype=float).T
        axis.errorbar(values, y, xerr=np.clip([values - low, high - values], 0, None), fmt="none", ecolor=BLACK,
                      capsize=4, lw=1.5)
        tops = np.fmax(high, values)
    for position, value, top in zip(y, values, tops, strict=True):
        axis.text(top + 0.01 * max(tops), position, f" {value:.2f}", va="center", fontsize=11,
                  bbox={"fc": "white", "ec": "none", "pad": 0.5})  # the line of chance must not strike it through
    if chance is not None:
        axis.axvline(chance, color=BLACK, ls=":", lw=1.5)
        xlabel += " (dotted: chance)"
    axis.set(yticks=y, yticklabels=labels, title=title, xlabel=xlabel, xlim=(0, 1.12 * max(tops) or 1))
    axis.yaxis.set_inverted(True)  # invert_yaxis() would turn axes that share their y back at every second call
    return axis.figure


def vector_space(distance: Tensor, labels: Sequence[str], *, axis: Axes | None = None, title: str = "") -> Figure:
    """Three points with the given pairwise distances [3, 3], drawn to scale in the plane, the shortest side in blue."""
    if axis is None:
        _, axis = plt.subplots(figsize=(4.2, 4))
    d = distance.double().cpu() / distance.max().clamp(min=1e-12).cpu()
    x = ((d[0, 1]**2 + d[0, 2]**2 - d[1, 2]**2) / (2 * d[0, 1].clamp(min=1e-9))).item()
    x = min(max(x, -d[0, 2].item()), d[0, 2].item())  # where the first two coincide, rounding would send it far away
    points = np.array([[0, 0], [d[0, 1].item(), 0], [x, np.sqrt(max(0.0, d[0, 2].item()**2 - x * x))]])
    sides = (0, 1), (0, 2), (1, 2)
    shortest = min(sides, key=lambda pair: distance[pair].item())
    close = shortest if d[shortest] < 0.25 else ()  # two points whose names would lie over each other
    for i, j in sides:
        near, middle, (along, up) = (i, j) == shortest, points[[i, j]].mean(0), points[j] - points[i]
        axis.plot(*points[[i, j]].T, color=BLUE if near else "lightgrey", lw=4 if near else 1.5, zorder=1)
        away, across = middle - points[3 - i - j], np.array([-up, along])  # from the third point
        if (i, j) == close:
            across = away
        elif across @ away < 0:
            across = -across
        _beside(axis, f"{distance[i, j].item():.3g}", middle, across, 0.1, fontsize=11)
    for k, label in enumerate(labels):
        axis.scatter(*points[k], s=90, color=ORANGE, ec=BLACK, zorder=3)
        outward = points[k] - points.mean(0)
        if k in close:
            outward = np.array([0, 1 if k == max(close, key=lambda k: points[k, 1]) else -1])
        _beside(axis, label, points[k], outward, 0.13, fontsize=12)
    axis.set(title=title, xticks=[], yticks=[], aspect="equal", xlabel="drawn to scale", xlim=_margin(points[:, 0]),
             ylim=_margin(points[:, 1]))
    axis.spines[["left", "bottom"]].set_visible(False)
    return axis.figure


def _beside(axis: Axes, text: str, point: np.ndarray, direction: np.ndarray, gap: float, **options) -> None:
    """Write `text` next to a point, on its side in this direction."""
    x, y = direction / (np.linalg.norm(direction) + 1e-9)
    side = "center" if abs(x) < 0.5 else "left" if x > 0 else "right"
    gap = gap if side == "center" else gap / 2
    axis.annotate(text, point + gap * np.array([x, y]), ha=side, va="center", **options)


def _margin(values: np.ndarray) -> tuple[float, float]:
    return values.min() - 0.3, values.max() + 0.3


def three_images(f: Callable[[Tensor], Tensor], *, name: str = "f(x)", size: int = 32, seed: int = 0) -> Figure:
    """The lecture's picture: x₁, x₂ (one class, two backgrounds) and x₃ (another class, x₁'s background) under f.

    f maps images [3, 3, size, size] in [0, 1] to features [3, D]; the right-hand side shows their Euclidean distances
    after scaling features to length one, drawn to scale. The images are made by code (`datasets.scenes.three_images`).
    """
    from .datasets import scenes

    data = scenes.three_images(size=size, seed=seed)
    with torch.no_grad():
        z = torch.nn.functional.normalize(f(data.float_images()).flatten(1).float(), dim=1).cpu()
    distance = torch.cdist(z, z)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(1.5, 1))
    centres = montage(left, data.images, 3)
    for centre, label, mark in zip(centres, data.labels.tolist(), ("$x_1$", "$x_2$", "$x_3$"), strict=True):
        left.text(centre[0], -1, f"{mark}: {data.classes[label]}", ha="center", va="bottom", fontsize=13)
    vector_space(distance, ("$f(x_1)$", "$f(x_2)$", "$f(x_3)$"), axis=right)
    right.set_xlabel("distances at feature length one, drawn to scale")
    pairs = {"x₁ and x₂: same thing": (0, 1), "x₁ and x₃: same background": (0, 2), "x₂ and x₃: nothing shared": (1, 2)}
    verdict = min(pairs, key=lambda pair: distance[pairs[pair]].item()) + ", together"
    figure.suptitle(f"f(x) = {name}   →   {verdict}", fontsize=14)
    return figure


def scoreboard(results: pandas.DataFrame, notebook: int, *,
               metrics: Sequence[str] = ("kNN", "linear probe", "10 labels per class")) -> Figure:
    """The bar chart that grows: accuracy of every f(x) met up to `notebook`, one group of bars per metric."""
    results = results[results["notebook"] <= notebook]
    names = list(dict.fromkeys(results["feature"]))
    figure, axes = plt.subplots(1, len(metrics), figsize=(12, 0.55 * len(names) + 1.6), sharey=True, squeeze=False)
    axes = axes[0]
    for axis, metric, color in zip(axes, metrics, COLORS, strict=False):
        shipped, own = (results[(results["metric"] == metric) & (results["own"] == mine)] for mine in (False, True))
        places = [names.index(name) for name in shipped["feature"]]
        axis.barh(places, shipped["value"], color=color, height=0.65)
        around = [shipped["value"] - shipped["low"], shipped["high"] - shipped["value"]]
        axis.errorbar(shipped["value"], places, xerr=around, fmt="none", ecolor=BLACK, capsize=4, lw=1.5)
        for place, value, high in zip(places, shipped["value"], shipped["high"], strict=True):
            axis.text(high + 0.02, place, f"{value:.2f}", va="center", fontsize=11)
        axis.plot(own["value"], [names.index(name) for name in own["feature"]], "*", ms=13, color=BLACK,
                  label="your own runs")
        axis.axvline(0.1, color=BLACK, ls=":", lw=1.5)
        axis.set(title=metric, xlabel="test accuracy (dotted: chance)", xlim=(0, 1), yticks=range(len(names)),
                 yticklabels=names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    if results["own"].any():
        axes[-1].legend(loc="lower right")
    return figure
