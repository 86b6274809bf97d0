"""Ten drawn objects as signed distance fields, so that `scenes` can paint them at any size with smooth edges.

Every object lives in a frame of its own: x to the right, y DOWN, the drawing inside [-0.5, 0.5]². A shape is a tensor
of signed distances to its outline on a grid of points [T, T, 2]: negative inside, in units of the frame.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

FRAME = 0.75  # the templates cover [-FRAME, FRAME]², a margin in which distances say "outside"
RESOLUTION = 144
Points = Sequence[tuple[float, float]]


def circle(p: Tensor, x: float, y: float, radius: float) -> Tensor:
    """Signed distance of the points p [..., 2] to a disc; [...]."""
    return torch.linalg.vector_norm(p - p.new_tensor([x, y]), dim=-1) - radius


def box(p: Tensor, left: float, top: float, right: float, bottom: float, corner: float = 0.0) -> Tensor:
    """Signed distance of p [..., 2] to a rectangle whose corners are rounded with radius `corner`; [...]."""
    center = p.new_tensor([(left + right) / 2, (top + bottom) / 2])
    half = p.new_tensor([(right - left) / 2 - corner, (bottom - top) / 2 - corner])
    q = (p - center).abs() - half
    return torch.linalg.vector_norm(q.clamp(min=0), dim=-1) + q.amax(-1).clamp(max=0) - corner


def _segment_distances(p: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Distance of p [..., 2] to each segment start → end, both [K, 2]; [..., K]."""
    along = end - start
    relative = p.unsqueeze(-2) - start  # [..., K, 2]
    t = ((relative * along).sum(-1) / along.square().sum(-1).clamp(min=1e-12)).clamp(0, 1)
    return torch.linalg.vector_norm(relative - t.unsqueeze(-1) * along, dim=-1)


def polygon(p: Tensor, corners: Points, rounding: float = 0.0) -> Tensor:
    """Signed distance of p [..., 2] to a closed polygon, grown by `rounding` (which rounds its corners); [...]."""
    start = p.new_tensor(list(corners))
    end = start.roll(-1, 0)
    distance = _segment_distances(p, start, end).amin(-1)
    # Even-odd rule: a ray to the right crosses the outline an odd number of times from inside.
    y = p[..., 1:2]
    spans = (start[:, 1] > y) != (end[:, 1] > y)
    rise = torch.where(end[:, 1] == start[:, 1], torch.ones_like(start[:, 1]), end[:, 1] - start[:, 1])
    crossing = start[:, 0] + (y - start[:, 1]) / rise * (end[:, 0] - start[:, 0])
    inside = (spans & (p[..., 0:1] < crossing)).sum(-1) % 2 == 1
    return torch.where(inside, -distance, distance) - rounding


def stroke(p: Tensor, path: Points, width: float) -> Tensor:
    """Signed distance of p [..., 2] to a pen stroke with round ends along a path; [...]."""
    points = p.new_tensor(list(path))
    return _segment_distances(p, points[:-1], points[1:]).amin(-1) - width / 2


def arc(x: float, y: float, rx: float, ry: float, start: float = 0.0, stop: float = 360.0, steps: int = 28) -> Points:
    """Points on an ellipse from `start` to `stop` degrees, clockwise on screen from the right-hand end (y is down)."""
    angles = [math.radians(start + (stop - start) * i / steps) for i in range(steps + 1)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


def union(*shapes: Tensor) -> Tensor:
    """The shape that covers every given one."""
    return functools.reduce(torch.minimum, shapes)


def cut(shape: Tensor, *holes: Tensor) -> Tensor:
    """`shape` with the holes taken out of it."""
    return functools.reduce(lambda a, b: torch.maximum(a, -b), holes, shape)


# Each object returns its three layers, painted in this order: `body` in the object's colour; `bold`, a tone of it
# further from the background, for parts of the outline; `soft`, a tone nearer to the background, inside the outline.


def house(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    walls = box(p, -0.34, -0.06, 0.34, 0.48)
    roof = polygon(p, [(-0.45, -0.05), (0.0, -0.45), (0.45, -0.05)], 0.03)
    chimney = box(p, 0.2, -0.46, 0.33, -0.1)
    door = box(p, 0.07, 0.16, 0.25, 0.49, 0.02)
    window = cut(box(p, -0.25, 0.1, -0.03, 0.32), box(p, -0.155, 0, -0.125, 0.5), box(p, -0.4, 0.195, 0.1, 0.225))
    return walls, union(roof, chimney), union(door, window)


def tree(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    tiers = [polygon(p, [(-w, low), (0.0, top), (w, low)], 0.015)
             for top, low, w in [(-0.48, -0.2, 0.2), (-0.33, 0.05, 0.3), (-0.14, 0.33, 0.4)]]
    trunk = box(p, -0.075, 0.33, 0.075, 0.5)
    # A shadow under each tier keeps the tiers apart even where the outline is a few pixels wide.
    shade = [stroke(p, [(-w, y), (0.0, y + 0.045), (w, y)], 0.03) for y, w in [(-0.19, 0.13), (0.06, 0.22)]]
    return union(*tiers), trunk, union(*shade)


def boat(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    hull = polygon(p, [(-0.46, 0.2), (0.46, 0.2), (0.3, 0.43), (-0.28, 0.43)], 0.025)
    mast = box(p, -0.045, -0.5, 0.0, 0.2)
    sails = union(polygon(p, [(0.04, -0.46), (0.2, -0.22), (0.4, 0.12), (0.04, 0.12)]),
                  polygon(p, [(-0.09, -0.34), (-0.36, 0.12), (-0.09, 0.12)]))
    stripe = box(p, -0.4, 0.255, 0.4, 0.3)
    return hull, union(mast, sails), cut(stripe, -hull - 0.02)


def mug(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rim, foot = arc(-0.08, -0.12, 0.32, 0.09, 180, 360), arc(-0.08, 0.3, 0.28, 0.17, 15, 165)
    cup = polygon(p, [*rim, *foot], 0.015)
    handle = cut(stroke(p, arc(0.22, 0.1, 0.19, 0.18), 0.085), cup)
    steam = [stroke(p, [(x + 0.035 * math.sin(4.6 * k / 8 + 0.6), -0.27 - 0.23 * k / 8) for k in range(9)], 0.05)
             for x in (-0.24, -0.08, 0.08)]
    coffee = polygon(p, arc(-0.08, -0.12, 0.27, 0.055))
    return union(cup, handle), union(*steam), coffee


def umbrella(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dome = polygon(p, [*arc(0, 0.04, 0.48, 0.46, 180, 360), (0.48, 0.06), (-0.48, 0.06)])
    scallops = [polygon(p, arc(x, 0.08, 0.15, 0.1)) for x in (-0.32, 0.0, 0.32)]
    canopy = cut(dome, *scallops)
    pole = stroke(p, [(0, 0.0), (0, 0.37), *arc(0.09, 0.37, 0.09, 0.1, 180, 0, 12)], 0.05)
    tip = stroke(p, [(0, -0.48), (0, -0.4)], 0.04)
    ribs = [stroke(p, arc(0, 0.03, 0.16, 0.41, a, b, 10), 0.028) for a, b in [(180, 262), (278, 360)]]
    return canopy, union(cut(pole, dome), stroke(p, [(0, -0.0), (0, 0.2)], 0.05), tip), union(*ribs)


def cat(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    head = polygon(p, arc(-0.06, -0.17, 0.27, 0.21))
    ears = [polygon(p, [(s * 0.24 - 0.06, -0.19), (s * 0.23 - 0.06, -0.46), (s * 0.03 - 0.06, -0.34)], 0.015)
            for s in (-1, 1)]
    body = polygon(p, [*arc(-0.06, 0.24, 0.2, 0.26, 180, 360), (0.2, 0.46), (0.16, 0.49), (-0.28, 0.49), (-0.32, 0.46)])
    tail = stroke(p, [(0.12, 0.44), *arc(0.27, 0.29, 0.15, 0.155, 90, -60, 10), (0.3, 0.09)], 0.085)
    eyes = [polygon(p, arc(x - 0.06, -0.19, 0.05, 0.06)) for x in (-0.11, 0.11)]
    mouth = polygon(p, [(-0.11, -0.085), (-0.01, -0.085), (-0.06, -0.03)], 0.01)
    bib = polygon(p, arc(-0.06, 0.26, 0.1, 0.13))
    return union(head, *ears, body), cut(tail, body), union(*eyes, mouth, bib)


def fish(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    upper, lower = arc(-0.08, 0.04, 0.38, 0.25, 180, 360), arc(-0.08, 0.04, 0.38, 0.2, 0, 180)
    body = polygon(p, [*upper, *lower])
    tail = polygon(p, [(0.2, 0.04), (0.46, -0.19), (0.39, 0.04), (0.46, 0.25)], 0.02)
    back_fin = polygon(p, [(-0.22, -0.14), (-0.02, -0.4), (0.12, -0.38), (0.1, -0.28), (0.2, -0.1)], 0.015)
    belly_fin = polygon(p, [(-0.12, 0.2), (0.05, 0.36), (0.06, 0.2)], 0.015)
    eye = circle(p, -0.29, -0.03, 0.05)
    bands = [stroke(p, arc(x - 0.3, 0.03, 0.3, 0.4, -40, 40, 8), 0.065) for x in (-0.08, 0.11)]
    return body, cut(union(tail, back_fin, belly_fin), body), union(eye, torch.maximum(union(*bands), body))


def car(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    lower = polygon(p, [(-0.46, -0.02), (-0.44, 0.2), (0.46, 0.2), (0.46, 0.06), (0.4, 0.01), (0.24, -0.02)], 0.03)
    cabin = polygon(p, [(-0.36, 0.0), (-0.29, -0.24), (0.08, -0.24), (0.25, 0.0)], 0.03)
    wheels = [circle(p, x, 0.22, 0.135) for x in (-0.26, 0.26)]
    windows = union(polygon(p, [(-0.28, -0.03), (-0.23, -0.2), (-0.1, -0.2), (-0.1, -0.03)]),
                    polygon(p, [(-0.03, -0.03), (-0.03, -0.2), (0.06, -0.2), (0.18, -0.03)]))
    hubs = [circle(p, x, 0.22, 0.06) for x in (-0.26, 0.26)]
    return union(lower, cabin), union(*wheels), union(windows, *hubs)


def mushroom(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    cap = polygon(p, [*arc(0, 0.0, 0.46, 0.46, 180, 360), (0.44, 0.05), (0.36, 0.07), (-0.36, 0.07), (-0.44, 0.05)])
    right = [(0.12, 0.0), (0.125, 0.2), (0.15, 0.34), (0.18, 0.41), (0.17, 0.45), (0.12, 0.47)]
    stem = polygon(p, [*right, *[(-x, y) for x, y in reversed(right)]], 0.015)
    spots = [polygon(p, arc(x, y, rx, ry)) for x, y, rx, ry in
             [(-0.02, -0.28, 0.1, 0.09), (-0.26, -0.09, 0.08, 0.09), (0.23, -0.13, 0.1, 0.1), (0.0, -0.04, 0.07, 0.05)]]
    return stem, cap, union(*spots)


def lamp(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    shade = polygon(p, [(-0.17, -0.46), (0.17, -0.46), (0.34, 0.0), (-0.34, 0.0)], 0.02)
    stem = box(p, -0.035, 0.0, 0.035, 0.42)
    foot = polygon(p, [(-0.2, 0.46), (-0.1, 0.4), (0.1, 0.4), (0.2, 0.46)], 0.025)
    bands = [box(p, -0.5, y, 0.5, y + 0.045) for y in (-0.07, -0.42)]
    return shade, union(stem, foot, stroke(p, [(0.2, 0.0), (0.2, 0.14)], 0.035)), torch.maximum(union(*bands), shade)


OBJECTS = (house, tree, boat, mug, umbrella, cat, fish, car, mushroom, lamp)


@functools.cache
def templates() -> Tensor:
    """The distance fields of all objects, one above the other; float32 [3, 10 * RESOLUTION, RESOLUTION], on the CPU."""
    steps = ((torch.arange(RESOLUTION) + 0.5) / RESOLUTION * 2 - 1) * FRAME
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    points = torch.stack([x, y], dim=-1)
    return torch.cat([torch.stack(draw(points)) for draw in OBJECTS], dim=1)
