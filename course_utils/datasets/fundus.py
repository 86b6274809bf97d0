"""`fundus`: retina photographs made by code, whose label is a handful of small lesions and nothing else.

A natural photograph is named by its largest object. Here everything large (pigment, camera, optic disc, vessels) is
nuisance, and what counts covers a few pixels: the "small local variations in tissue" of medical images.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .imageset import ImageSet

CLASSES = ("no or mild", "moderate or worse")
LESIONS = ("microaneurysms", "haemorrhages", "exudates")
SPLITS = {"train": 4_000, "val": 1_000, "test": 2_000}
# Fewest and most lesions of each kind by grade, after the international scale of diabetic retinopathy: 0 none, 1 mild
# (microaneurysms only), 2 moderate, 3 severe, 4 proliferative (here: severe with blots half as large again).
_FEWEST = torch.tensor([[0, 0, 0], [1, 0, 0], [2, 1, 0], [3, 3, 1], [3, 3, 1]])
_MOST = torch.tensor([[0, 0, 0], [4, 0, 0], [5, 3, 2], [8, 6, 5], [8, 6, 5]])
_RADIUS = torch.tensor([0.016, 0.034, 0.026])  # of each kind, where the photograph's half side is 1
_CHUNK = 16  # photographs rasterised at once: small enough to stay in cache, also at 128 px
_Factors = dict[str, Tensor]


def generate(split: str = "train", n: int | None = None, size: int = 64, seed: int = 0, prevalence: float = 0.3, *,
             lesion_size: float | None = None, lesion_contrast: float | None = None) -> ImageSet:
    """The set `fundus`: n retina photographs of size × size pixels, round(n * prevalence) of them moderate or worse.

    split: train, val or test (4,000, 1,000 and 2,000 unless n says otherwise), separate random streams. The same
    arguments at another size give the same eyes. lesion_size (1 = usual) and lesion_contrast (0 to 1) fix for all eyes
    what is otherwise drawn from 0.7 to 1.3 and from 0.4 to 0.9; the eyes stay the same. factors: grade [N] 0 to 4
    (label = grade >= 2), lesion_count [N, 3] in the order of `LESIONS`, lesion_size, lesion_contrast, pigment and
    exposure [N], optic_disc and macula [N, 2] as (x, y) in [0, 1] from the top left corner, right_eye [N] 0 or 1.
    Raises ValueError on an unknown split, n < 1, size < 16, prevalence outside [0, 1], or a negative size or contrast.
    """
    if split not in SPLITS:
        raise ValueError(f"fundus has no split {split!r}; it has {', '.join(SPLITS)}")
    n = SPLITS[split] if n is None else n
    if n < 1 or size < 16 or not 0 <= prevalence <= 1:
        raise ValueError(f"need n >= 1, size >= 16 and 0 <= prevalence <= 1, got {n}, {size} and {prevalence}")
    if (lesion_size or 0) < 0 or not 0 <= (lesion_contrast or 0) <= 1:
        raise ValueError(f"need lesion_size >= 0, 0 <= lesion_contrast <= 1, got {lesion_size}, {lesion_contrast}")
    generator = torch.Generator().manual_seed(len(SPLITS) * seed + list(SPLITS).index(split))
    labels = (torch.arange(n) < round(n * prevalence)).long()[torch.randperm(n, generator=generator)]
    eye = _draw_eyes(labels, generator)
    if lesion_size is not None:
        eye["lesion_size"] = torch.full((n,), float(lesion_size))
    if lesion_contrast is not None:
        eye["lesion_contrast"] = torch.full((n,), float(lesion_contrast))
    images = torch.empty(n, 3, size, size, dtype=torch.uint8)
    for rows in torch.arange(n).split(_CHUNK):
        images[rows] = _photograph({name: value[rows] for name, value in eye.items()}, size, generator)
    return ImageSet(images, labels, CLASSES, "fundus", f"fundus (made by code, seed {seed}): not patients", {
        "grade": eye["grade"], "lesion_count": eye["lesion_count"], "lesion_size": eye["lesion_size"],
        "lesion_contrast": eye["lesion_contrast"], "pigment": eye["pigment"], "exposure": eye["exposure"],
        "optic_disc": _to_image(eye, eye["disc"]), "macula": _to_image(eye, eye["macula"]),
        "right_eye": (eye["side"] < 0).float()})  # seen from the front, a right eye has its optic disc on the right


def _draw_eyes(labels: Tensor, generator: torch.Generator) -> _Factors:
    """Everything about n eyes and their photographs but the noise; each [n, ...].

    Places are in the eye's own frame: the photograph's centre is 0, its half side 1, the optic disc to the left.
    """
    n = len(labels)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    draw = torch.rand(n, generator=generator)
    grade = torch.where(labels == 1, 2 + (draw > 0.5).long() + (draw > 0.8), (draw > 0.7).long())
    low, high = _FEWEST[grade], _MOST[grade]
    disc = torch.stack([uniform(-0.62, -0.48), uniform(-0.08, 0.08)], dim=1)
    macula = torch.stack([disc[:, 0] + uniform(0.5, 0.62), disc[:, 1] + uniform(0.0, 0.1)], dim=1)
    eye = {
        "grade": grade, "lesion_count": low + ((high - low + 1) * uniform(0, 1, 3)).long(),
        "lesion_size": uniform(0.7, 1.3), "lesion_contrast": uniform(0.4, 0.9),
        "pigment": uniform(0, 1), "exposure": uniform(0.75, 1.2), "warmth": uniform(-1, 1),
        "noise": uniform(0.005, 0.02),
        "shift": uniform(-0.04, 0.04, 2), "turn": uniform(-0.2, 0.2), "side": uniform(-1, 1).sign(),
        "field": uniform(0.9, 0.98), "light": uniform(-0.12, 0.12, 2), "choroid": uniform(-1, 1, 1, 7, 7),
        "disc": disc, "disc_radius": uniform(0.12, 0.16), "cup": uniform(0.3, 0.6),
        "macula": macula, "macula_depth": uniform(0.25, 0.5), "macula_width": uniform(0.13, 0.2),
        # Four trunks (up and down, towards the macula and away), three branches on each.
        "bend": uniform(0.3, 1.3, 4), "bend_more": uniform(1.2, 2.8, 4), "wave": uniform(4, 11, 4),
        "phase": uniform(0, 2 * math.pi, 4), "width": uniform(0.014, 0.022, 4),
        "fork": uniform(0.06, 0.5, 4, 3), "spread": uniform(0.3, 1.6, 4, 3), "vessel_contrast": uniform(0.45, 0.75),
    }
    eye["lesion_place"] = _draw_places(disc, macula, generator)
    eye["lesion_shape"] = uniform(0, 1, 3, int(_MOST.max()), 3)
    return eye


def _draw_places(disc: Tensor, macula: Tensor, generator: torch.Generator) -> Tensor:
    """Centres of as many lesions of each kind as an eye may have; [n, 3, K, 2]."""
    n, k = len(disc), int(_MOST.max())
    radius = 0.78 * torch.rand(n, 3, k, generator=generator).sqrt()
    angle = 2 * math.pi * torch.rand(n, 3, k, generator=generator)
    place = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
    # Exudates leak in groups around the macula.
    group = macula + 0.4 * (2 * torch.rand(n, 2, generator=generator) - 1)
    place[:, 2] = group[:, None] + 0.13 * torch.randn(n, k, 2, generator=generator).clamp(-2, 2)
    # None on the optic disc, where a lesion would be hidden: those go to the other half of the eye.
    hidden = torch.linalg.vector_norm(place - disc[:, None, None], dim=-1, keepdim=True) < 0.25
    return torch.where(hidden, place * place.new_tensor([-1.0, 1.0]), place)


def _column(value: Tensor) -> Tensor:
    """[b] → [b, 1, 1], to go with maps [b, H, W]."""
    return value[:, None, None]


def _eye_frame(eye: _Factors, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel centres in the eye's own frame, x and y, and the distance from the centre of the field; [b, H, W] each."""
    centres = (torch.arange(size) + 0.5) / size * 2 - 1
    x = centres[None, None, :] - _column(eye["shift"][:, 0])
    y = centres[None, :, None] - _column(eye["shift"][:, 1])
    cos, sin = _column(eye["turn"].cos()), _column(eye["turn"].sin())
    return _column(eye["side"]) * (cos * x + sin * y), cos * y - sin * x, (x.square() + y.square()).sqrt()


def _to_image(eye: _Factors, place: Tensor) -> Tensor:
    """The way back: places [n, 2] in the eye's frame as (x, y) in [0, 1] of the photograph."""
    x, y = place[:, 0] * eye["side"], place[:, 1]
    cos, sin = eye["turn"].cos(), eye["turn"].sin()
    return (torch.stack([cos * x - sin * y, sin * x + cos * y], dim=1) + eye["shift"] + 1) / 2


def _photograph(eye: _Factors, size: int, generator: torch.Generator) -> Tensor:
    """Tissue, vessels, lesions, then the camera; uint8 [b, 3, size, size]."""
    x, y, radius = _eye_frame(eye, size)
    picture = _tissue(eye, x, y, size)
    absorbed = _column(eye["vessel_contrast"]) * _vessels(eye, x, y, size)  # blood takes green and blue, spares red
    picture = picture * (1 - absorbed[:, None] * picture.new_tensor([0.35, 0.75, 0.65])[:, None, None])
    dark, bright = _lesions(eye, x, y, size)
    picture = picture * (1 - dark[:, None] * picture.new_tensor([0.55, 0.85, 0.75])[:, None, None])
    picture = torch.lerp(picture, picture.new_tensor([1.0, 0.88, 0.5])[:, None, None], bright[:, None])
    light = 1 - 0.35 * radius.square() + _column(eye["light"][:, 0]) * x + _column(eye["light"][:, 1]) * y
    light = light * _column(eye["exposure"]) * ((_column(eye["field"]) - radius) * size / 2 + 0.5).clamp(0, 1)
    warmth = 1 + eye["warmth"][:, None] * picture.new_tensor([0.05, -0.08, -0.25])  # [b, 3]
    picture = picture * light[:, None] * warmth[:, :, None, None]
    noise = torch.randn(picture.shape, generator=generator) * eye["noise"][:, None, None, None]
    return (picture + noise).mul_(255).round_().clamp_(0, 255).to(torch.uint8)


def _tissue(eye: _Factors, x: Tensor, y: Tensor, size: int) -> Tensor:
    """The retina without vessels: pigment, choroid, optic disc with its cup, macula; [b, 3, H, W]."""
    pale, deep = torch.tensor([0.98, 0.47, 0.32]), torch.tensor([0.66, 0.30, 0.17])
    color = torch.lerp(pale, deep, eye["pigment"][:, None])[:, :, None, None]
    choroid = F.interpolate(eye["choroid"], size=(size, size), mode="bicubic", align_corners=True)  # [b, 1, H, W]
    picture = color * (1 + 0.13 * choroid * choroid.new_tensor([0.6, 1.0, 1.0])[:, None, None])
    to_macula = (x - _column(eye["macula"][:, 0])).square() + (y - _column(eye["macula"][:, 1])).square()
    shade = _column(eye["macula_depth"]) * torch.exp(-0.5 * to_macula / _column(eye["macula_width"]).square())
    picture = picture * (1 - shade[:, None] * picture.new_tensor([0.45, 1.0, 1.0])[:, None, None])
    to_disc = ((x - _column(eye["disc"][:, 0])).square()
               + 0.8 * (y - _column(eye["disc"][:, 1])).square()).sqrt() / _column(eye["disc_radius"])
    rim = (8 * (1 - to_disc)).add(0.5).clamp(0, 1)  # a soft edge, as in life
    cup = (5 * (_column(eye["cup"]) - to_disc)).add(0.5).clamp(0, 1)
    picture = torch.lerp(picture, picture.new_tensor([1.0, 0.74, 0.46])[:, None, None], 0.85 * rim[:, None])
    return torch.lerp(picture, picture.new_tensor([1.0, 0.93, 0.74])[:, None, None], 0.8 * cup[:, None])


def _vessels(eye: _Factors, x: Tensor, y: Tensor, size: int) -> Tensor:
    """How much vessel covers each pixel; [b, H, W] in [0, 1].

    A vessel is a curve x = f(h) over the height h above (or below) the optic disc, so that its distance is nearly
    |x - f(h)| / sqrt(1 + f'(h)²): one pass over the pixels for each vessel, at any size.
    """
    across, covered = x - _column(eye["disc"][:, 0]), torch.zeros_like(x)
    for trunk in range(4):
        up, towards = (-1.0, 1.0)[trunk % 2], (1.0, -1.0)[trunk // 2]
        height = (up * (y - _column(eye["disc"][:, 1]))).clamp(min=0)
        a, b = towards * _column(eye["bend"][:, trunk]), towards * _column(eye["bend_more"][:, trunk])
        wave = 0.12 * torch.sin(_column(eye["wave"][:, trunk]) * height + _column(eye["phase"][:, trunk]))
        f, slope = height * (height * (a + b * height) + wave), height * (2 * a + 3 * b * height)
        half_width = _column(eye["width"][:, trunk]) * (1 - 0.5 * height)
        covered = torch.maximum(covered, _line(across - f, slope, half_width, height, size))
        for branch in range(3):
            sign = (1.0, -1.0, 1.0)[branch] * towards
            past = (height - _column(eye["fork"][:, trunk, branch])).clamp(min=0)
            spread = sign * _column(eye["spread"][:, trunk, branch])
            covered = torch.maximum(covered, _line(across - f - spread * past * (1 + 2 * past),
                                                   slope + spread * (1 + 4 * past), 0.65 * half_width, past, size))
    return covered


def _line(offset: Tensor, slope: Tensor, half_width: Tensor, begun: Tensor, size: int) -> Tensor:
    """Coverage of a curve where begun > 0; a line thinner than a pixel is drawn one pixel wide and fainter."""
    distance = offset.abs() * torch.rsqrt(1 + slope.square())
    coverage = ((half_width - distance) * (size / 2) + 0.5).clamp_(0, 1) * (half_width * size).clamp(max=1)
    return coverage * (begun > 0)


def _lesions(eye: _Factors, x: Tensor, y: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Coverage times contrast of the dark lesions and of the bright ones; [b, H, W] each, in [0, 1]."""
    dark, bright = torch.zeros_like(x), torch.zeros_like(x)
    for kind, target in enumerate((dark, dark, bright)):
        for k in range(int(eye["lesion_count"][:, kind].max())):
            rows = (eye["lesion_count"][:, kind] > k).nonzero()[:, 0]
            place, shape = eye["lesion_place"][rows, kind, k], eye["lesion_shape"][rows, kind, k]
            dx, dy = x[rows] - _column(place[:, 0]), y[rows] - _column(place[:, 1])
            cos, sin = _column((math.pi * shape[:, 0]).cos()), _column((math.pi * shape[:, 0]).sin())
            stretch = _column(1 + (0.0, 0.6, 0.3)[kind] * shape[:, 1])
            distance = ((cos * dx + sin * dy).square() / stretch + (cos * dy - sin * dx).square() * stretch).sqrt()
            radius = _RADIUS[kind] * eye["lesion_size"][rows] * (0.75 + 0.5 * shape[:, 2])
            if LESIONS[kind] == "haemorrhages":
                radius = radius * torch.where(eye["grade"][rows] == 4, 1.5, 1.0)
            edge = 2 / size + 0.5 * radius  # one pixel wide at least; blood has no sharp outline
            coverage = ((_column(radius) - distance) / _column(edge) + 0.5).clamp(0, 1)
            coverage = coverage * _column((math.pi * (radius * size / 2).square()).clamp(max=1))  # less than a pixel
            target[rows] = torch.maximum(target[rows], coverage * _column(eye["lesion_contrast"][rows]))
    return dark, bright
