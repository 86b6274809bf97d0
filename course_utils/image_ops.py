"""Pure image operations on a batch, with one parameter value per image: the functions behind `augment`.

Each equals its namesake in `torchvision.transforms.v2.functional` applied image by image. In all of them:

- `x` is a float batch [B, C, H, W] in [0, 1]; the result is a new tensor of the same dtype and memory format.
- A per-image parameter is a tensor [B] on any device, or one Python number for all images.
- Wrong shapes, integer images and numbers out of range raise ValueError. The contents of tensors are not checked, since
  reading them would make the host wait for the device; no shape depends on them either.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import full_precision

# ---- helpers ---------------------------------------------------------------------------------------------------------

def check(x: Tensor, *, rgb: bool = False) -> None:
    if x.ndim != 4:
        raise ValueError(f"images must be a batch [B, C, H, W], got shape {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"images must be float in [0, 1], got {x.dtype}: call x.float() / 255 first")
    if rgb and x.shape[1] != 3:
        raise ValueError(f"this operation needs three colour channels, got shape {tuple(x.shape)}")


def _per_image(value: Tensor | float, x: Tensor, name: str, low: float = -math.inf, high: float = math.inf,
               dtype: torch.dtype | None = None) -> Tensor:
    """One value for each image, ready to broadcast against x: [B, 1, 1, 1]."""
    dtype = dtype or x.dtype
    if not isinstance(value, Tensor):
        if not low <= value <= high:
            raise ValueError(f"{name} must lie in [{low}, {high}], got {value}")
        return torch.full((len(x), 1, 1, 1), value, dtype=dtype, device=x.device)
    if value.shape not in ((), (len(x),), (len(x), 1, 1, 1)):
        raise ValueError(f"{name} must hold one value for each of {len(x)} images, got shape {tuple(value.shape)}")
    return value.to(x.device, dtype).reshape(-1, 1, 1, 1).expand(len(x), 1, 1, 1)


def _boxes(boxes: Tensor, x: Tensor) -> list[Tensor]:
    if boxes.shape != (len(x), 4):
        raise ValueError(f"boxes must be [{len(x)}, 4] (top, left, height, width), got shape {tuple(boxes.shape)}")
    return [b.view(-1, 1, 1) for b in boxes.to(x.device, _coordinates(x)).unbind(1)]  # each [B, 1, 1]


def _coordinates(x: Tensor) -> torch.dtype:
    """The dtype for positions: half precision cannot tell neighbouring pixels of a large image apart."""
    return torch.promote_types(x.dtype, torch.float32)


def _keep_format(y: Tensor, x: Tensor) -> Tensor:
    """y in the memory format of x (channels_last or plain)."""
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return y.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def _sample(x: Tensor, rows: Tensor, cols: Tensor, padding: str) -> Tensor:
    """Bilinear look-up of x at pixel positions rows and cols, which broadcast to [B, h, w]; 0 is a pixel's centre."""
    height, width = x.shape[-2:]
    rows, cols = (2 * rows + 1) / height - 1, (2 * cols + 1) / width - 1
    grid = rows.new_empty(*torch.broadcast_shapes(rows.shape, cols.shape), 2)
    grid[..., 0], grid[..., 1] = cols, rows  # writes the broadcast once; torch.stack is four times slower here
    y = F.grid_sample(x.to(grid.dtype), grid, mode="bilinear", padding_mode=padding, align_corners=False)
    return _keep_format(y.to(x.dtype), x)


def _sample_compiled(x: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """`_sample` at rows [B, h, 1] and cols [B, 1, w] within the image, by operations that compilers make fast on CPUs.

    They take grid_sample apart into scalar look-ups, four times slower than eager. Whole rows are looked up at vector
    speed; along a row, the weights of its two nearest pixels form a matrix.
    """
    height, width = x.shape[-2:]
    above = rows.floor()[:, None]  # [B, 1, h, 1]
    i = above.long().expand(-1, x.shape[1], -1, width)
    x = x.to(rows.dtype)
    y = torch.lerp(x.gather(2, i), x.gather(2, (i + 1).clamp_max(height - 1)), rows[:, None] - above)  # [B, C, h, W]
    weights = (1 - (torch.arange(width, device=x.device)[:, None] - cols).abs()).clamp_min(0)  # [B, W, w]
    with full_precision(x):
        return (y.flatten(1, 2) @ weights).unflatten(1, y.shape[1:3])


def _grey(x: Tensor) -> Tensor:
    """Luma with torchvision's weights (they sum to 0.9999): [B, 1, H, W]."""
    r, g, b = x.split(1, dim=1)
    return (0.2989 * r).add_(g, alpha=0.587).add_(b, alpha=0.114)


# ---- geometry --------------------------------------------------------------------------------------------------------

def crop_resize(x: Tensor, boxes: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Cut a box out of each image and stretch it to `size` (bilinear, no antialiasing): [B, C, size, size].

    boxes: [B, 4] = top, left, height, width in pixels, float. Samples are clamped to the box, so nothing outside it
    is seen. On whole-pixel boxes this equals `resized_crop(antialias=False)`.
    """
    check(x)
    top, left, height, width = _boxes(boxes, x)
    out_h, out_w = (size, size) if isinstance(size, int) else size

    def positions(start: Tensor, extent: Tensor, n: int) -> Tensor:
        step = (torch.arange(n, device=x.device, dtype=start.dtype) + 0.5) / n - 0.5  # [n], in (-1/2, 1/2)
        reach = (extent - 1).clamp_min(0) / 2  # from the box's middle to the centre of its outermost pixel
        return start + (extent - 1) / 2 + (step * extent).minimum(reach).maximum(-reach)  # [B, 1, n]

    rows, cols = positions(top, height, out_h).mT, positions(left, width, out_w)
    if torch.compiler.is_compiling() and x.device.type == "cpu":
        y = _sample_compiled(x, rows.clamp(0, x.shape[-2] - 1), cols.clamp(0, x.shape[-1] - 1))
        return _keep_format(y.to(x.dtype), x)
    return _sample(x, rows, cols, "border")


def horizontal_flip(x: Tensor, mask: Tensor | bool) -> Tensor:
    """Mirror left and right where mask [B] is true."""
    check(x)
    return torch.where(_per_image(mask, x, "mask", dtype=torch.bool), x.flip(-1), x)


def rotate90(x: Tensor, turns: Tensor | int) -> Tensor:
    """Turn square images counter-clockwise by `turns` [B] quarter turns (any integer), as `torch.rot90` does."""
    check(x)
    if x.shape[-1] != x.shape[-2]:
        raise ValueError(f"quarter turns need square images, got shape {tuple(x.shape)}")
    turns = _per_image(turns, x, "turns", dtype=torch.int64) % 4
    y = torch.where(turns % 2 == 1, x.mT, x)
    y = torch.where((turns == 1) | (turns == 2), y.flip(-2), y)
    return _keep_format(torch.where(turns >= 2, y.flip(-1), y), x)


def rotate(x: Tensor, degrees: Tensor | float) -> Tensor:
    """Turn each image counter-clockwise about its centre by `degrees` [B] (bilinear; outside is 0)."""
    check(x)
    angle = torch.deg2rad(_per_image(degrees, x, "degrees", dtype=_coordinates(x))[..., 0])  # [B, 1, 1]
    cos, sin = angle.cos(), angle.sin()
    middle_row, middle_col = (x.shape[-2] - 1) / 2, (x.shape[-1] - 1) / 2
    rows = torch.arange(x.shape[-2], device=x.device, dtype=angle.dtype)[:, None] - middle_row  # [H, 1]
    cols = torch.arange(x.shape[-1], device=x.device, dtype=angle.dtype) - middle_col  # [W]
    # A pixel of the result comes from where it was before the turn, so its position is turned back: [B, H, W].
    return _sample(x, sin * cols + cos * rows + middle_row, cos * cols - sin * rows + middle_col, "zeros")


def translate(x: Tensor, dx: Tensor | float, dy: Tensor | float) -> Tensor:
    """Shift each image by dx [B] pixels to the right and dy [B] pixels down (fractions: bilinear; outside is 0)."""
    check(x)
    dx, dy = (_per_image(d, x, name, dtype=_coordinates(x))[..., 0] for d, name in ((dx, "dx"), (dy, "dy")))
    rows = torch.arange(x.shape[-2], device=x.device, dtype=dy.dtype)[:, None]
    return _sample(x, rows - dy, torch.arange(x.shape[-1], device=x.device, dtype=dx.dtype) - dx, "zeros")


# ---- colour ----------------------------------------------------------------------------------------------------------
# Each is a blend factor * x + (1 - factor) * reference, clamped to [0, 1]. Steps on the function's own intermediate
# results are in place (clamp_, add_): half the memory traffic, and x itself is never written.

def adjust_brightness(x: Tensor, factor: Tensor | float) -> Tensor:
    """Multiply each image by factor [B] >= 0 (0: black, 1: unchanged) and clamp."""
    check(x)
    return (x * _per_image(factor, x, "factor", 0)).clamp_(0, 1)


def adjust_contrast(x: Tensor, factor: Tensor | float) -> Tensor:
    """Blend each image with its own mean grey by factor [B] >= 0 (0: flat, 1: unchanged) and clamp; C is 1 or 3."""
    check(x, rgb=x.shape[1] != 1)
    factor = _per_image(factor, x, "factor", 0)
    mean = x.mean((2, 3), keepdim=True)  # the mean of the grey image is the grey of the mean
    mean = mean if x.shape[1] == 1 else _grey(mean)
    return (x * factor).add_((1 - factor) * mean).clamp_(0, 1)


def adjust_saturation(x: Tensor, factor: Tensor | float) -> Tensor:
    """Blend each image with its grey version by factor [B] >= 0 (0: grey, 1: unchanged) and clamp; three channels."""
    check(x, rgb=True)
    return torch.lerp(_grey(x), x, _per_image(factor, x, "factor", 0)).clamp_(0, 1)


def adjust_hue(x: Tensor, factor: Tensor | float) -> Tensor:
    """Turn the hue of each image by factor [B] in [-1/2, 1/2] of the colour circle (exact HSV); three channels.

    Hue h is counted in sextants (red 0, green 2, blue 4); low = min(r, g, b), chroma = max(r, g, b) - low. Neither
    direction needs a case distinction. From RGB: h = (chroma - (r - low) + (g - low) + (b - low)) / chroma from red
    through green to cyan, and minus that where b > g. Back: a channel is full within one sextant of its own hue and
    falls to `low` over the next.
    """
    check(x, rgb=True)
    r, g, b = x.unbind(1)  # each [B, H, W]
    low = r.minimum(g).minimum(b)
    chroma = r.maximum(g).maximum(b).sub_(low)
    h = (chroma - r).add_(g).add_(b).sub_(low) / chroma.clamp_min(torch.finfo(x.dtype).eps)  # grey: any h will do
    h = torch.copysign(h, g - b) + 6 * _per_image(factor, x, "factor", -0.5, 0.5)[:, 0]
    h = h.sub_((h / 6).floor_(), alpha=6)  # into [0, 6]; `remainder` is ten times slower on CPUs
    red, green, blue = (h - 3).abs_().sub_(1), 2 - (h - 2).abs_(), 2 - (h - 4).abs_()
    y = torch.cat([red, green, blue], dim=1).view(x.shape)  # [B, 3H, W] first: inductor joins C = 1 channels_last
    y = y.clamp_(0, 1).mul_(chroma[:, None]).add_(low[:, None])
    return _keep_format(y, x)


def to_grayscale(x: Tensor, mask: Tensor | bool = True) -> Tensor:
    """Replace the colours by grey, kept as three equal channels, where mask [B] is true ("color drop")."""
    check(x, rgb=True)
    return _keep_format(torch.where(_per_image(mask, x, "mask", dtype=torch.bool), _grey(x), x), x)


# ---- corruption and filters ------------------------------------------------------------------------------------------

def cutout(x: Tensor, boxes: Tensor) -> Tensor:
    """Set a box of each image to 0 (DeVries & Taylor 2017); boxes [B, 4] = top, left, height, width in pixels.

    A pixel belongs to the box when its index i satisfies top <= i < top + height. Boxes may reach out of the image.
    """
    check(x)
    top, left, height, width = _boxes(boxes, x)
    rows = torch.arange(x.shape[-2], device=x.device)[:, None]
    cols = torch.arange(x.shape[-1], device=x.device)
    inside = (rows >= top) & (rows < top + height) & (cols >= left) & (cols < left + width)  # [B, H, W]
    return torch.where(inside[:, None], 0, x)


def gaussian_noise(x: Tensor, std: Tensor | float) -> Tensor:
    """Add independent normal noise of standard deviation std [B] >= 0 to every value, and clamp to [0, 1]."""
    check(x)
    return (torch.randn_like(x) * _per_image(std, x, "std", 0)).add_(x).clamp_(0, 1)


def gaussian_blur(x: Tensor, sigma: Tensor | float, kernel_size: int | None = None) -> Tensor:
    """Blur each image with a Gaussian of standard deviation sigma [B] >= 0 pixels (0: unchanged; edges reflected).

    kernel_size: odd number of taps for all images, its half shorter than the image; None: odd, covering ±3 of the
    largest sigma, as far as one reflection reaches.
    """
    check(x)
    sigma = _per_image(sigma, x, "sigma", 0)
    longest = min(x.shape[-2:]) - 1
    if kernel_size is None:
        radius = (3 * sigma.max()).ceil().clamp_max(longest)  # stays on the device: it is a mask below, never a shape
    elif kernel_size < 1 or kernel_size % 2 == 0 or kernel_size // 2 > longest:
        raise ValueError(f"kernel_size must be odd and at most {2 * longest + 1} here, got {kernel_size}")
    else:
        radius = kernel_size // 2

    def blur_matrix(n: int) -> Tensor:  # [B, 1, n, n]: row i holds the weights with which pixels j add up to pixel i
        distance = torch.arange(1 - n, 2 * n - 1, device=x.device)
        w = torch.exp(-0.5 * (distance / sigma.clamp_min(1e-3)) ** 2) * (distance.abs() <= radius)  # [B, 1, 1, 3n-2]
        windows = (w / w[..., : 2 * n - 1].sum(-1, keepdim=True)).squeeze(2).unfold(-1, n, 1)  # [B, 1, 2n-1, n], a view
        direct, left = windows[:, :, :n].flip(2), windows[:, :, n - 1 :]  # weights at distances j - i and i + j
        right = left.flip(2, 3)  # at 2 (n - 1) - i - j; the edge pixels themselves have no mirror image
        j = torch.arange(n, device=x.device)
        return direct + left * (j > 0) + right * (j < n - 1)

    with full_precision(x):
        y = blur_matrix(x.shape[-2]) @ x @ blur_matrix(x.shape[-1]).mT
    return _keep_format(y, x)


def sobel(x: Tensor) -> Tensor:
    """Edge strength of each channel: the length of its Sobel gradient, where a step from 0 to 1 gives 1; clamped."""
    check(x)
    p = F.pad(x, (1, 1, 1, 1), mode="replicate")
    down = p[..., 2:, :] - p[..., :-2, :]  # [B, C, H, W + 2]
    right = p[..., 2:] - p[..., :-2]  # [B, C, H + 2, W]
    gy = (down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]) / 4
    gx = (right[..., :-2, :] + 2 * right[..., 1:-1, :] + right[..., 2:, :]) / 4
    return _keep_format((gx**2 + gy**2 + 1e-12).sqrt().clamp(0, 1), x)  # 1e-12: a finite gradient on flat areas


def frame_colour(x: Tensor, width: int = 4) -> Tensor:
    """The mean colour [B, C] of each image's outer `width` pixels: a stand-in for the background of a photograph."""
    check(x)
    inside = x[..., width:-width, width:-width]
    pixels = x.shape[-2] * x.shape[-1] - inside.shape[-2] * inside.shape[-1]
    return (x.sum(dim=(2, 3)) - inside.sum(dim=(2, 3))) / pixels
