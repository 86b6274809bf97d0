"""`scenes`: small pictures of ten drawn objects with every factor known, made so that pixels see the background first.

The colour of the background and of the object say nothing about the label; the shape says everything. Raw pixels
are dominated by the former, so the set measures how far a representation f(x) has left pixel space behind.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from . import shapes
from .imageset import ImageSet

CLASSES = tuple(draw.__name__ for draw in shapes.OBJECTS)
SPLITS = {"train": 10_000, "val": 1_000, "test": 2_000}
CONTRAST = 0.2  # least luma difference between an object and either end of its background
_LUMA = (0.299, 0.587, 0.114)
_CHUNK = 64  # images rasterised at once: small enough to stay in cache


def generate(split: str = "train", n: int | None = None, size: int = 32, seed: int = 0) -> ImageSet:
    """The set `scenes`: n pictures of size × size pixels, the ten classes equally often (within one).

    split: train, val or test (10,000, 1,000 and 2,000 pictures unless n says otherwise), separate random streams. The
    same (split, n, seed) gives the same factors at any size. `factors` holds what `render` takes, under its names.
    Raises ValueError on an unknown split, n < 1 or size < 8.
    """
    if split not in SPLITS:
        raise ValueError(f"scenes has no split {split!r}; it has {', '.join(SPLITS)}")
    n = SPLITS[split] if n is None else n
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    generator = torch.Generator().manual_seed(len(SPLITS) * 2 * seed + list(SPLITS).index(split))
    labels = (torch.arange(n) % len(CLASSES))[torch.randperm(n, generator=generator)]
    factors = _draw_factors(n, generator)
    return _image_set(labels, factors, size, seed, generator)


def triples(n: int, size: int = 32, seed: int = 0) -> ImageSet:
    """n random triples x1, x2, x3: x1 and x2 of one class on different backgrounds, x3 of another class on x1's.

    3n pictures in that order. Raw pixels put x1 nearer to x3; a good f(x) puts it nearer to x2. Object colour, place,
    scale and tilt are drawn anew for each picture. Raises ValueError where n < 1 or size < 8.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    generator = torch.Generator().manual_seed(len(SPLITS) * 2 * seed + len(SPLITS))
    first = torch.randint(len(CLASSES), (n,), generator=generator)
    other = (first + torch.randint(1, len(CLASSES), (n,), generator=generator)) % len(CLASSES)
    labels = torch.stack([first, first, other], dim=1)  # [n, 3]
    background = _draw_backgrounds(3 * n, generator).view(n, 3, 2, 3)
    angle = 360 * torch.rand(n, 3, generator=generator)
    background[:, 2], angle[:, 2] = background[:, 0], angle[:, 0]
    factors = _draw_factors(3 * n, generator, background.flatten(0, 1))
    factors["gradient_angle"] = angle.flatten()
    return _image_set(labels.flatten(), factors, size, seed, generator)


def same_thing_nearer(z: Tensor) -> float:
    """The share of `triples` whose features z [3n, D], normalised, put x1 nearer to x2 than to x3; 1/2 is a coin."""
    x1, x2, x3 = F.normalize(z, dim=1).view(-1, 3, z.shape[1]).unbind(1)  # [n, D] each
    return ((x1 - x2).norm(dim=1) < (x1 - x3).norm(dim=1)).float().mean().item()


def three_images(size: int = 32, seed: int = 0) -> ImageSet:
    """The lecture's picture: x1 and x2 are cats on different backgrounds, x3 is a house on x1's background.

    Three pictures in that order; the seed changes the noise alone. Raises ValueError where size < 8.
    """
    dusk, meadow = [[0.16, 0.20, 0.50], [0.45, 0.28, 0.62]], [[0.98, 0.93, 0.62], [0.66, 0.88, 0.55]]
    factors = {
        "color": torch.tensor([[0.99, 0.72, 0.36], [0.16, 0.33, 0.50], [0.96, 0.62, 0.56]]),
        "background": torch.tensor([dusk, meadow, dusk]),
        "gradient_angle": torch.tensor([-80.0, 75.0, -80.0]),
        "position": torch.tensor([[0.47, 0.53], [0.55, 0.50], [0.50, 0.52]]),
        "scale": torch.tensor([0.76, 0.72, 0.76]),
        "aspect": torch.ones(3),
        "tilt": torch.tensor([3.0, -6.0, -2.0]),
        "facing": torch.tensor([1.0, -1.0, 1.0]),
        "noise": torch.full((3,), 0.01),
    }
    labels = torch.tensor([CLASSES.index(name) for name in ("cat", "cat", "house")])
    return _image_set(labels, factors, size, seed, torch.Generator().manual_seed(seed))


def render(label: Tensor, *, color: Tensor, background: Tensor, gradient_angle: Tensor, position: Tensor,
           scale: Tensor, aspect: Tensor, tilt: Tensor, facing: Tensor, noise: Tensor, size: int = 32,
           generator: torch.Generator | None = None) -> Tensor:
    """Pictures from explicit factors; uint8 [N, 3, size, size], on the factors' device.

    label: int64 [N]. color [N, 3]: the object's colour, RGB in [0, 1]. background [N, 2, 3]: the colours at the two
    ends of a linear gradient; gradient_angle [N]: where it runs, in degrees, 0 = to the right, 90 = downwards.
    position [N, 2]: the object's centre (x, y), 0 to 1 from the top left corner. scale [N]: its side as a share of the
    image's. aspect [N]: width over height, at equal area. tilt [N]: degrees, counter-clockwise. facing [N]: 1, or -1
    mirrored. noise [N]: standard deviation where white is 1, drawn from `generator`, left out where that is None.
    Raises ValueError where size < 8 or a label has no class.
    """
    _check(label, size)
    images = torch.empty(len(label), 3, size, size, dtype=torch.uint8, device=label.device)
    for part in torch.arange(len(label), device=label.device).split(_CHUNK):
        picture = _gradient(background[part], gradient_angle[part], size)  # [b, 3, H, W]
        layers = _layers(label[part], position[part], scale[part], aspect[part], tilt[part], facing[part], size)
        for layer, tone in zip(layers, _tones(color[part], background[part]), strict=True):
            picture = torch.lerp(picture, tone[:, :, None, None], layer[:, None])
        if generator is not None:
            normal = torch.randn(picture.shape, generator=generator, device=picture.device)
            picture = picture.addcmul_(normal, noise[part, None, None, None])
        images[part] = picture.mul_(255).round_().clamp_(0, 255).to(torch.uint8)
    return images


def mask(label: Tensor, *, position: Tensor, scale: Tensor, aspect: Tensor, tilt: Tensor, facing: Tensor,
         size: int = 32, **others: Tensor) -> Tensor:
    """How much of each pixel the object covers; float32 [N, 1, size, size] in [0, 1], from the factors of `render`.

    `others` takes the factors that do not matter here, so that `mask(s.labels, **s.factors)` works. Raises as `render`.
    """
    _check(label, size)
    parts = [_layers(label[i], position[i], scale[i], aspect[i], tilt[i], facing[i], size).amax(0).unsqueeze(1)
             for i in torch.arange(len(label), device=label.device).split(_CHUNK)]
    return torch.cat(parts) if parts else torch.empty(0, 1, size, size, device=label.device)


def _check(label: Tensor, size: int) -> None:
    if size < 8:
        raise ValueError(f"size must be at least 8 pixels, got {size}")
    if len(label) and not 0 <= int(label.min()) <= int(label.max()) < len(CLASSES):
        raise ValueError(f"labels must lie between 0 and {len(CLASSES) - 1}")


def _image_set(labels: Tensor, factors: dict[str, Tensor], size: int, seed: int,
               generator: torch.Generator) -> ImageSet:
    images = render(labels, **factors, size=size, generator=generator)
    return ImageSet(images, labels, CLASSES, "scenes", f"scenes (made by code, seed {seed}): not photographs", factors)


def _pixel_grid(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixel centres in [0, 1]; x as [1, W], y as [H, 1]."""
    centres = (torch.arange(size, device=device) + 0.5) / size
    return centres[None, :], centres[:, None]


def _gradient(background: Tensor, angle: Tensor, size: int) -> Tensor:
    """A linear gradient that reaches its two colours in opposite corners; [N, 3, size, size]."""
    x, y = _pixel_grid(size, background.device)
    cos, sin = torch.cos(torch.deg2rad(angle)), torch.sin(torch.deg2rad(angle))
    reach = (cos.abs() + sin.abs())[:, None, None]
    along = 0.5 + ((x - 0.5) * cos[:, None, None] + (y - 0.5) * sin[:, None, None]) / reach  # [N, H, W]
    return torch.lerp(background[:, 0, :, None, None], background[:, 1, :, None, None], along[:, None])


def _layers(label: Tensor, position: Tensor, scale: Tensor, aspect: Tensor, tilt: Tensor, facing: Tensor,
            size: int) -> Tensor:
    """Coverage of the body, bold and soft layers, each in [0, 1]; [3, N, size, size]."""
    x, y = _pixel_grid(size, label.device)
    dx, dy = x - position[:, 0, None, None], y - position[:, 1, None, None]  # [N, 1, W], [N, H, 1]
    cos, sin = torch.cos(torch.deg2rad(tilt)) / scale, torch.sin(torch.deg2rad(tilt)) / scale
    cos, sin, facing = cos[:, None, None], sin[:, None, None], facing[:, None, None]
    wide = aspect.sqrt()[:, None, None]
    u, v = facing * (dx * cos - dy * sin) / wide, (dx * sin + dy * cos) * wide  # the object's own frame, [N, H, W]
    # All templates lie in one column, so one call samples every class; the clamp keeps a sample inside its own.
    edge = 1 - 1 / shapes.RESOLUTION
    u, v = (u / shapes.FRAME).clamp(-edge, edge), (v / shapes.FRAME).clamp(-edge, edge)
    v = (2 * label[:, None, None] + 1 + v) / len(CLASSES) - 1
    column = shapes.templates().to(label.device)
    distance = F.grid_sample(column[None], torch.stack([u, v], dim=-1).flatten(0, 1)[None], align_corners=False)
    distance = distance.view(3, len(label), size, size) * (scale * size)[:, None, None]  # in pixels
    return (0.5 - distance).clamp_(0, 1)


def _luma(color: Tensor) -> Tensor:
    """Brightness of RGB colours [..., 3] as grey; [...]."""
    return color @ color.new_tensor(_LUMA)


def _tones(color: Tensor, background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The object's colour, a bolder tone away from the background and a softer one back towards it; [N, 3] each.

    Parts of the outline are bold or plain, never soft, so that no background swallows them.
    """
    bright = (_luma(color) > _luma(background).mean(1))[:, None]
    lighter, darker = torch.lerp(color, torch.ones_like(color), 0.6), color * 0.5
    return color, torch.where(bright, lighter, darker), torch.where(bright, darker, lighter)


def _uniform(low: float | Tensor, high: float | Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def _paint(hue: Tensor, luma: Tensor, saturation: Tensor) -> Tensor:
    """RGB colours of given hue in turns, luma and saturation, each [N]; [N, 3] in [0, 1].

    The pure hue is mixed with black or white until its luma fits, so that the luma is exact.
    """
    offset = hue.new_tensor([0.0, 4.0, 2.0])
    pure = ((6 * hue[:, None] + offset) % 6 - 3).abs().sub(1).clamp(0, 1)  # [N, 3]
    pure = torch.lerp(_luma(pure)[:, None].expand(-1, 3), pure, saturation[:, None])
    y, target = _luma(pure)[:, None], luma[:, None]
    return torch.where(target > y, 1 - (1 - pure) * (1 - target) / (1 - y), pure * target / y).clamp(0, 1)


def _draw_backgrounds(n: int, generator: torch.Generator) -> Tensor:
    """Pairs of related colours, all hues and brightnesses alike; [n, 2, 3]."""
    hue = torch.rand(n, generator=generator)
    luma = _uniform(0.12, 0.88, (n,), generator)
    saturation = _uniform(0.35, 0.9, (n,), generator)
    second_hue = hue + _uniform(-0.2, 0.2, (n,), generator)
    second_luma = (luma + _uniform(-0.25, 0.25, (n,), generator)).clamp(0.1, 0.92)
    return torch.stack([_paint(hue, luma, saturation), _paint(second_hue % 1, second_luma, saturation)], dim=1)


def _draw_colors(background: Tensor, generator: torch.Generator) -> Tensor:
    """Object colours, any hue, at least CONTRAST brighter or darker than all of their background; [n, 3]."""
    n = len(background)
    luma = _luma(background)
    low, high = 0.1, 0.9  # neither black nor white, so that the bold tone still differs
    above = luma.amax(1) + CONTRAST
    room_below, room_above = (luma.amin(1) - CONTRAST - low).clamp(min=0), (high - above).clamp(min=0)
    spot = _uniform(0, room_below + room_above, (n,), generator)
    target = torch.where(spot < room_below, low + spot, above + spot - room_below)
    return _paint(torch.rand(n, generator=generator), target, _uniform(0.6, 1.0, (n,), generator))


def _draw_factors(n: int, generator: torch.Generator, background: Tensor | None = None) -> dict[str, Tensor]:
    """Factors of n pictures, none of which knows the label; the keyword arguments of `render`."""
    background = _draw_backgrounds(n, generator) if background is None else background
    # Objects as large as random crops need, moved, tilted and stretched until raw pixels no longer line up.
    return {
        "color": _draw_colors(background, generator),
        "background": background,
        "gradient_angle": _uniform(0, 360, (n,), generator),
        "position": _uniform(0.28, 0.72, (n, 2), generator),
        "scale": _uniform(0.54, 0.84, (n,), generator),
        "aspect": _uniform(-0.4, 0.4, (n,), generator).exp(),
        "tilt": _uniform(-20, 20, (n,), generator),
        "facing": torch.randint(0, 2, (n,), generator=generator) * 2.0 - 1,
        "noise": _uniform(0.005, 0.03, (n,), generator),
    }
