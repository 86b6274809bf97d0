"""Augmentation of a whole batch at once, on its own device, with different parameters for every image in it.

The pure functions (`image_ops`, all available from here) take explicit parameters, one value per image. The modules
draw those parameters at random and call the function; join them with `torch.nn.Sequential`. Images are float
[B, C, H, W] in [0, 1], and so are the results.

The modules are views, not layers: they act in train *and* in eval mode. They draw on `x.device` from its default
generator, so `torch.manual_seed` repeats them. No shape depends on what was drawn and nothing waits for the host, so
they run on any device and under `torch.compile(fullgraph=True)`.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from .image_ops import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    check,
    crop_resize,
    cutout,
    gaussian_blur,
    gaussian_noise,
    horizontal_flip,
    rotate,
    rotate90,
    sobel,
    to_grayscale,
    translate,
)

__all__ = ["adjust_brightness", "adjust_contrast", "adjust_hue", "adjust_saturation", "crop_resize", "cutout",
           "gaussian_blur", "gaussian_noise", "horizontal_flip", "rotate", "rotate90", "sobel", "to_grayscale",
           "translate", "ColorJitter", "Cutout", "GaussianBlur", "GaussianNoise", "RandomCrop", "RandomGrayscale",
           "RandomHorizontalFlip", "RandomResizedCrop", "RandomRotation90", "Sobel",
           "moco_v1_augment", "moco_v2_augment", "simclr_augment"]


def _interval(value: float | tuple[float, float], name: str, low: float = 0.0, high: float = math.inf,
              center: float | None = None) -> tuple[float, float]:
    """A pair within [low, high]; one number v is center ± v cut off at `low`, or without a center v itself."""
    if isinstance(value, tuple | list):
        lo, hi = value
    else:
        lo, hi = (value, value) if center is None else (max(center - value, low), center + value)
    if not low <= lo <= hi <= high:
        raise ValueError(f"{name} must be an increasing interval within [{low}, {high}], got {value}")
    return lo, hi


def _fraction(value: float, name: str = "p") -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")
    return value


def _uniform(x: Tensor, interval: tuple[float, float], *shape: int) -> Tensor:
    return torch.empty(len(x), *shape, device=x.device).uniform_(*interval)


def _coin(x: Tensor, p: float) -> Tensor:
    return (torch.rand(len(x), device=x.device) < p).view(-1, 1, 1, 1)


def _settings(module: nn.Module) -> str:
    """What `print(module)` shows between the brackets."""
    return ", ".join(f"{k}={v}" for k, v in vars(module).items() if k[0] != "_" and k != "training")


class RandomResizedCrop(nn.Module):
    """Crop a box of random area (fraction `scale`) and aspect ratio (`ratio`, log-uniform) and resize it to `size`.

    Szegedy et al. 2015, drawn as torchvision does: the first of ten whole-pixel proposals that fits, else the largest
    central box whose aspect ratio is allowed.
    """

    def __init__(self, size: int | tuple[int, int], scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)):
        super().__init__()
        self.size, self.scale = size, _interval(scale, "scale", 0.0, 1.0)
        self.ratio = _interval(ratio, "ratio", 1e-6)

    extra_repr = _settings

    def boxes(self, x: Tensor) -> Tensor:
        """Draw one box for each image: [B, 4]."""
        height, width = x.shape[-2:]
        area = height * width * _uniform(x, self.scale, 10)  # [B, 10]
        aspect = _uniform(x, (math.log(self.ratio[0]), math.log(self.ratio[1])), 10).exp()
        w, h = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
        fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
        first = fits.float().argmax(1, keepdim=True)  # [B, 1]
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        none = ~fits.any(1, keepdim=True)
        w = w.gather(1, first).masked_fill(none, min(width, round(height * ratio)))
        h = h.gather(1, first).masked_fill(none, min(height, round(width / ratio)))
        top, left = ((extent + 1) * _uniform(x, (0, 1), 1) for extent in (height - h, width - w))
        top, left = top.floor().minimum(height - h), left.floor().minimum(width - w)  # rounding may reach extent + 1
        center = torch.cat([height - h, width - w], 1).div(2).floor()  # [B, 2]
        corner = torch.where(none, center, torch.cat([top, left], 1))
        return torch.cat([corner, h, w], 1)

    def forward(self, x: Tensor) -> Tensor:
        check(x)
        return crop_resize(x, self.boxes(x), self.size)


class RandomCrop(nn.Module):
    """Pad with `padding` zeros on every side and crop back to the old size at a random whole-pixel position."""

    def __init__(self, padding: int = 4):
        super().__init__()
        if padding < 0:
            raise ValueError(f"padding must be at least 0, got {padding}")
        self.padding = padding

    extra_repr = _settings

    def forward(self, x: Tensor) -> Tensor:
        dy, dx = torch.randint(-self.padding, self.padding + 1, (2, len(x)), device=x.device).unbind()
        return translate(x, dx, dy)


class RandomHorizontalFlip(nn.Module):
    """Mirror each image with probability p."""

    def __init__(self, p: float = 0.5):
        super().__init__()
        self.p = _fraction(p)

    extra_repr = _settings

    def forward(self, x: Tensor) -> Tensor:
        return horizontal_flip(x, _coin(x, self.p))


class RandomRotation90(nn.Module):
    """Turn each image by 0, 90, 180 or 270 degrees, all four equally likely."""

    def forward(self, x: Tensor) -> Tensor:
        return rotate90(x, torch.randint(4, (len(x),), device=x.device))


class ColorJitter(nn.Module):
    """With probability p, change brightness, contrast, saturation and hue of an image, in an order drawn at each call.

    A number v means factors uniform in [max(0, 1 - v), 1 + v] (hue: [-v, v], v <= 1/2); a pair is the interval itself.
    Factors differ between the images, the order is the batch's. Steps that change nothing (v = 0) are left out, so
    one-channel images can have brightness and contrast jittered.
    """

    STEPS = {"brightness": adjust_brightness, "contrast": adjust_contrast, "saturation": adjust_saturation,
             "hue": adjust_hue}

    def __init__(self, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, p: float = 1.0):
        super().__init__()
        blends = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        intervals = {name: _interval(value, name, center=1) for name, value in blends.items()}
        intervals["hue"] = _interval(hue, "hue", -0.5, 0.5, center=0)
        self.intervals = {name: i for name, i in intervals.items() if i != ((0, 0) if name == "hue" else (1, 1))}
        self.p = _fraction(p)

    extra_repr = _settings

    def forward(self, x: Tensor) -> Tensor:
        check(x)
        draws = [_coin(x, self.p), *(_uniform(x, i) for i in self.intervals.values())]
        order = torch.randperm(len(self.intervals), device="cpu")  # on the host, which thus never waits for the device
        if torch.compiler.is_compiling():
            return self._jitter(x, order.unbind(), *draws)
        # Small pieces of the batch stay in the processor's cache, and their memory is reused, not asked for anew.
        piece = max(1, 2**16 // x.shape[-2:].numel()) if x.device.type == "cpu" else max(1, len(x))
        parts = zip(*(t.split(piece) for t in (x, *draws)), strict=True)
        return torch.cat([self._jitter(part, order.tolist(), *drawn) for part, *drawn in parts])

    def _jitter(self, x: Tensor, order: list[int] | tuple[Tensor, ...], coin: Tensor, *factors: Tensor) -> Tensor:
        steps = [partial(self.STEPS[name], factor=factor) for name, factor in zip(self.intervals, factors, strict=True)]
        y = x
        for k in order:
            y = steps[k](y) if isinstance(k, int) else _run_one(steps, k, y)
        return torch.where(~coin, x, y)  # in the memory format of x, which leads


def _run_one(steps: list[partial], k: Tensor, y: Tensor) -> Tensor:
    """steps[k](y) in a graph, where a tensor cannot index a list; no other step runs."""
    if len(steps) == 1:
        return steps[0](y)
    b, c, h, w = y.shape  # the branches must agree on a memory format, so y enters and leaves them flat
    return torch.cond(k == 0, lambda flat: steps[0](flat.view(b, c, h, w)).flatten(),
                      lambda flat: _run_one(steps[1:], k - 1, flat.view(b, c, h, w)).flatten(),
                      (y.flatten(),)).view(b, c, h, w)


class RandomGrayscale(nn.Module):
    """Replace the colours of each image by grey with probability p ("color drop")."""

    def __init__(self, p: float = 0.2):
        super().__init__()
        self.p = _fraction(p)

    extra_repr = _settings

    def forward(self, x: Tensor) -> Tensor:
        return to_grayscale(x, _coin(x, self.p))


class Cutout(nn.Module):
    """With probability p, blacken a square whose side is the fraction `size` of the image's shorter side.

    Its centre is uniform over the image, so part of it may lie outside; 1/2 is DeVries & Taylor's 16 pixels of 32.
    """

    def __init__(self, size: float = 0.5, p: float = 1.0):
        super().__init__()
        self.size, self.p = _fraction(size, "size"), _fraction(p)

    extra_repr = _settings

    def forward(self, x: Tensor) -> Tensor:
        check(x)
        height, width = x.shape[-2:]
        side = float(round(self.size * min(height, width)))
        top, left = (_uniform(x, (0, extent)).floor() - side // 2 for extent in (height, width))
        side = side * _coin(x, self.p).view(-1)  # a side of 0 covers nothing
        return cutout(x, torch.stack([top, left, side, side], 1))


class GaussianNoise(nn.Module):
    """With probability p, add normal noise whose standard deviation is uniform in the interval `std`."""

    def __init__(self, std: tuple[float, float] = (0.0, 0.1), p: float = 1.0):
        super().__init__()
        self.std, self.p = _interval(std, "std"), _fraction(p)

    extra_repr = _settings

    def forward(self, x: Tensor) -> Tensor:
        check(x)
        return torch.where(_coin(x, self.p), gaussian_noise(x, _uniform(x, self.std)), x)


class GaussianBlur(nn.Module):
    """With probability p, blur an image with sigma uniform in the interval `sigma` (pixels; SimCLR, appendix A).

    kernel_size None: odd, covering ±3 of the largest sigma of the batch.
    """

    def __init__(self, sigma: tuple[float, float] = (0.1, 2.0), p: float = 0.5, kernel_size: int | None = None):
        super().__init__()
        self.sigma, self.p, self.kernel_size = _interval(sigma, "sigma"), _fraction(p), kernel_size

    extra_repr = _settings

    def forward(self, x: Tensor) -> Tensor:
        check(x)
        return torch.where(_coin(x, self.p), gaussian_blur(x, _uniform(x, self.sigma), self.kernel_size), x)


class Sobel(nn.Module):
    """Replace each image by its edge strength with probability p."""

    def __init__(self, p: float = 1.0):
        super().__init__()
        self.p = _fraction(p)

    extra_repr = _settings

    def forward(self, x: Tensor) -> Tensor:
        check(x)
        return torch.where(_coin(x, self.p), sobel(x), x)


# ---- recipes ---------------------------------------------------------------------------------------------------------
# At 32 pixels and below the blur is left out, as SimCLR (appendix B.9) and MoCo's CIFAR notebook do.

def simclr_augment(size: int, strength: float = 1.0) -> nn.Sequential:
    """SimCLR's views (appendix A): crop, flip, colour distortion of the given strength (CIFAR-10: 0.5), grey, blur."""
    s = strength
    blur = GaussianBlur((0.1, 2.0), 0.5, kernel_size=size // 20 * 2 + 1)  # a tenth of the image, made odd
    return nn.Sequential(RandomResizedCrop(size), RandomHorizontalFlip(),
                         ColorJitter(0.8 * s, 0.8 * s, 0.8 * s, 0.2 * s, p=0.8), RandomGrayscale(0.2),
                         *([blur] if size > 32 else []))


def moco_v1_augment(size: int) -> nn.Sequential:
    """MoCo v1's views (He et al. 2020, section 3.3, and its code): crop of at least 20 %, grey, jitter always, flip."""
    return nn.Sequential(RandomResizedCrop(size, scale=(0.2, 1.0)), RandomGrayscale(0.2),
                         ColorJitter(0.4, 0.4, 0.4, 0.4), RandomHorizontalFlip())


def moco_v2_augment(size: int) -> nn.Sequential:
    """MoCo v2's "aug+" (Chen et al. 2020, and its code): weaker hue, jitter only on 80 % of the images, blur."""
    return nn.Sequential(RandomResizedCrop(size, scale=(0.2, 1.0)), ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
                         RandomGrayscale(0.2), *([GaussianBlur((0.1, 2.0), 0.5)] if size > 32 else []),
                         RandomHorizontalFlip())
