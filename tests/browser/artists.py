"""Runs in the notebook's kernel: what the figure on show consists of, and whether it belongs to the controls' values.

`report(i, shown)` takes the values as the browser's page shows them. The figure is compared with a fresh `draw` of
these values, artist by artist, and with what CLAIMS says of each panel in its own terms.
"""

import hashlib
import math

import ipywidgets
import numpy as np
import torch
from IPython import get_ipython
from matplotlib import pyplot as plt
from matplotlib.category import StrCategoryFormatter
from matplotlib.quiver import Quiver
from matplotlib.ticker import FixedFormatter

from course_utils import augment, widgets
from course_utils.datasets import fundus


def panels():
    """The notebook's panels, top to bottom."""
    return [w for w in ipywidgets.widgets.widget._instances.values() if isinstance(w, widgets.Panel)]


def arrays(figure):
    """The data of all artists: points of lines and clouds, pictures, bars, arrows, words."""
    yield [figure.get_suptitle()]
    for axis in figure.axes:
        yield [axis.get_title(where) for where in ("center", "left")] + [text.get_text() for text in axis.texts]
        yield [axis.get_xlabel(), axis.get_ylabel()]
        for ticks in (axis.xaxis, axis.yaxis):  # words at the ticks, not numbers, which follow the size in print
            if isinstance(ticks.get_major_formatter(), (FixedFormatter, StrCategoryFormatter)):
                yield [label.get_text() for label in ticks.get_ticklabels()]
        yield from (line.get_xydata() for line in axis.lines)
        yield from (image.get_array() for image in axis.images)
        yield from (patch.get_path().transformed(patch.get_patch_transform()).vertices for patch in axis.patches)
        for cloud in axis.collections:
            yield from (cloud.get_offsets(), cloud.get_array())
            if isinstance(cloud, Quiver):  # its outlines are made when it is painted
                yield from (cloud.U, cloud.V)
            else:
                yield from (path.vertices for path in cloud.get_paths())


def fingerprint(figure):
    digest = hashlib.sha256()
    for data in arrays(figure):
        array = np.ma.asarray(data if data is not None else [])
        digest.update(repr(array.tolist()).encode() if array.dtype.kind in "UO" else np.ascontiguousarray(array).data)
    return digest.hexdigest()


def tiles(axis, count, size=32):
    """Number of pictures in a montage of one row, and the first of them, [3, size, size]."""
    gap, canvas = max(2, size // 10), torch.as_tensor(np.asarray(axis.images[0].get_array()))
    assert canvas.shape[:2] == (size + 2 * gap, count * (size + gap) + gap), canvas.shape
    return canvas[gap:gap + size, gap:gap + size].permute(2, 0, 1)


def same(a, b):
    torch.testing.assert_close(torch.as_tensor(a).float(), torch.as_tensor(b).float(), rtol=1e-4, atol=1e-4)


def push(n, axes, v):
    first, original = tiles(axes[0], v["neighbours"] + 1), n.test.float_images()[v["image"]]
    moved = augment.rotate(augment.translate(original[None], v["shift"], 0), v["angle"])
    same(first, augment.adjust_brightness(moved, v["brightness"])[0])
    a, b = first.flatten(), original.flatten()
    distance = {"l2": (a - b).norm(), "l1": (a - b).abs().sum(), "cosine": 1 - torch.cosine_similarity(a, b, dim=0)}
    told = float(axes[0].get_title().split(": ")[1].split(" from")[0])
    assert abs(told - distance[v["metric"]]) < 0.01 * told + 1e-4, (told, distance)


def two_spaces(n, axes, v):
    stage = n.stage_names[v["layer"]]
    assert {"head": "last convolution"}.get(stage, stage) in axes[1].get_title()
    for axis in axes:
        same(tiles(axis, v["neighbours"] + 1), n.few_queries.float_images()[v["image"]])


def with_few_labels(n, axes, v):
    assert axes[0].get_title().endswith(f": {v['labels_per_class']}")
    assert all(0 <= bar.get_width() <= 1 for bar in axes[0].patches)


def look(n, axes, v):
    eye = fundus.generate("val", n=1, prevalence=1.0, seed=v["eye"], lesion_size=v["lesion_size"],
                          lesion_contrast=v["lesion_contrast"])
    same(np.moveaxis(axes[0].images[0].get_array(), 2, 0), eye.images[0])


def which_way_up(n, axes, v):
    assert axes[0].get_title() == f"turned by {v['angle']}°"
    turned = augment.rotate(n.test.float_images()[v["image"]][None], float(v["angle"]))[0]
    drawn = torch.as_tensor(axes[0].images[0].get_array()).permute(2, 0, 1)
    same(drawn[:, n.disc], turned[:, n.disc])
    same(sum(bar.get_height() for bar in axes[1].patches), 1)


def plane(n, axes, v):
    same(axes[0].lines[-1].get_xydata()[0], [v["x"], v["y"]])
    same(axes[0].patches[0].radius ** 2, 1 + v["margin"])


def spread_out(n, axes, v):
    assert v["colour"] in axes[0].get_xlabel()
    points = [line.get_xydata() for line in axes[0].lines] or [axes[0].collections[0].get_offsets()]
    z = n.plane_2d[v["views"]][v["epoch"]]
    same(np.sort(np.concatenate(points), axis=0)[:, 0].mean(), z[n.first_250][:, 0].mean())


def explore(n, axes, v):
    assert v["operation"] in axes[0].figure.get_suptitle()
    picture, view_1, view_2 = (axis.images[0].get_array() for axis in axes)
    same(picture, n.photo[0].permute(1, 2, 0))
    if v["probability"] == 0:
        same(view_1, picture)
        same(view_2, picture)


def embedding(n, axes, v):
    points = np.concatenate([cloud.get_offsets() for cloud in axes[0].collections])
    same(np.sort(points, axis=0), n.planes[v["epoch"]].sort(dim=0).values)


def who_pushes(n, axes, v):
    others = torch.arange(2 * n.n) % n.n != v["image"]
    w = (n.similar[v["image"], others] / v["temperature"]).softmax(dim=0).sort(descending=True).values
    same(axes[1].lines[0].get_ydata(), w)


def dictionary(n, axes, v):
    keys = axes[0].collections[0].get_offsets()
    assert len(keys) == math.ceil(v["K"] / 128), len(keys)
    same(keys[-1], n.follower(v["m"])[-1])


CLAIMS = {claim.__name__: claim for claim in (push, two_spaces, with_few_labels, look, which_way_up, plane, spread_out,
                                              explore, embedding, who_pushes, dictionary)}


class Names(dict):
    __getattr__ = dict.__getitem__


def read(control, text):
    """The value that a reader takes from a control's read-out."""
    if isinstance(control, ipywidgets.Dropdown):
        return next(value for value in control.options if str(value) == text.replace("\xa0", " "))
    if isinstance(control, ipywidgets.Checkbox):
        return text
    assert abs(float(text.replace("−", "-")) - control.value) < 0.006, f"{text} shown for {control.value}"
    return round(control.value, 10)  # the read-out has two decimals


def report(i, shown):
    """What the test asserts of panel i, whose controls show `shown`: plain data, to be sent over as JSON."""
    panel = panels()[i]
    values = {name: read(control, text) for (name, control), text in zip(panel.controls.items(), shown, strict=True)}
    again = panel.draw(**values)
    plt.close(again)
    try:
        CLAIMS[panel.draw.__name__](Names(get_ipython().user_ns), panel.figure.axes, values)
        claim = "holds"
    except AssertionError as error:
        claim = f"fails: {error}"
    return {"values": values, "drawn": panel.drawn, "start": panel.start, "claim": claim,
            "on show": fingerprint(panel.figure), "drawn again": fingerprint(again),
            "message": panel.message.value, "element": panel.picture.value}
