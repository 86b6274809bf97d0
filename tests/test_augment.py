"""The functions against torchvision image by image; the modules by statistics; and what a device needs of both."""

import math
import shutil
from functools import partial
from itertools import permutations

import pytest
import torch
import torchvision.transforms.v2.functional as TF
from scipy import ndimage, stats
from torch import nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import RandomResizedCrop as OneResizedCrop

from course_utils import augment as A
from course_utils.image_ops import frame_colour

BILINEAR = InterpolationMode.BILINEAR
B, H, W = 24, 20, 28
BLENDS = ["brightness", "contrast", "saturation"]


@pytest.fixture
def x():
    """Random images plus every special case of colour: black, white, grey, primaries, two equal channels, one pixel."""
    torch.manual_seed(0)
    x = torch.rand(B, 3, H, W)
    x[0], x[1], x[2] = 0, 1, 0.3
    x[3] = x[3, :1]  # grey
    x[4] = (x[4] > 0.5).float()  # the corners of the colour cube
    x[5, 1] = x[5, 0]
    x[6, 2] = x[6, 1]
    x[7, 0] = x[7, 2]
    x[8] = 0
    x[8, 1, 3, 4] = 1
    x[9] /= 255
    return x


def each(f, x, *parameters):
    return torch.stack([f(image, *values) for image, *values in zip(x, *parameters, strict=True)])


def near(a, b, tolerance=1e-4):  # the contract is 1/255; the functions do far better
    assert a.shape == b.shape and a.dtype == b.dtype
    assert (a - b).abs().max() <= tolerance


def spread(low, high, *edges):
    """B values, the edges among them."""
    values = torch.empty(B).uniform_(low, high)
    values[torch.randperm(B)[: len(edges)]] = torch.tensor(edges)
    return values


def whole_boxes():
    h, w = torch.randint(1, H + 1, (B,)), torch.randint(1, W + 1, (B,))
    h[:4], w[:4] = torch.tensor([H, 1, 1, H]), torch.tensor([W, 1, W, 1])  # all of it, one pixel, one row, one column
    top, left = (torch.rand(B) * (H - h + 1)).long(), (torch.rand(B) * (W - w + 1)).long()
    return torch.stack([top, left, h, w], 1)


# ---- functions against torchvision -----------------------------------------------------------------------------------

@pytest.mark.parametrize("name", BLENDS)
def test_blends(x, name):
    for _ in range(3):
        f = spread(0, 2.5, 0.0, 1.0, 2.0)
        near(getattr(A, f"adjust_{name}")(x, f), each(getattr(TF, f"adjust_{name}"), x, f.tolist()))


def test_hue(x):
    for f in (spread(-0.5, 0.5, 0.0, 0.25), *(torch.full((B,), v) for v in (-0.5, -1 / 6, 0.0, 1 / 3, 0.5))):
        near(A.adjust_hue(x, f), each(TF.adjust_hue, x, f.clamp(-0.5, 0.5).tolist()))


@pytest.mark.parametrize("compiled", [False, True])  # other operations in a graph
@pytest.mark.parametrize("size", [16, (20, 28), (7, 40)])
def test_crop_resize(x, size, compiled):
    crop_resize = torch.compile(A.crop_resize, fullgraph=True, backend="eager") if compiled else A.crop_resize
    out = [size, size] if isinstance(size, int) else list(size)
    for _ in range(3):
        boxes = whole_boxes()
        near(crop_resize(x, boxes.float(), size),
             each(lambda i, b: TF.resized_crop(i, *b, out, antialias=False), x, boxes.tolist()))


@pytest.mark.parametrize("compiled", [False, True])
def test_crop_never_looks_outside_its_box(compiled):
    crop_resize = torch.compile(A.crop_resize, fullgraph=True, backend="eager") if compiled else A.crop_resize
    x = torch.ones(1, 1, 16, 16)
    x[:, :, 4:9, 5:11] = 0
    assert crop_resize(x, torch.tensor([[4.0, 5, 5, 6]]), 32).max() < 1e-5
    assert crop_resize(x, torch.tensor([[4.5, 5.2, 4.1, 5.5]]), 32).max() < 1e-5  # fractions of pixels
    assert crop_resize(x, torch.tensor([[6.2, 7.1, 0.3, 0.4]]), 4).max() < 1e-5  # less than one pixel


def test_flip_grey_cutout(x):
    mask, boxes = torch.rand(B) < 0.5, whole_boxes()
    near(A.horizontal_flip(x, mask), each(lambda i, m: i.flip(-1) if m else i, x, mask), 0)
    near(A.to_grayscale(x, mask), each(lambda i, m: TF.rgb_to_grayscale(i, 3) if m else i, x, mask), 1e-6)
    near(A.cutout(x, boxes), each(lambda i, b: TF.erase(i, *b.tolist(), v=torch.zeros(3, 1, 1)), x, boxes), 0)


def test_rotations(x):
    degrees = spread(-400, 400, 0.0, 90.0, 180.0, 45.0)
    near(A.rotate(x, degrees), each(partial(TF.rotate, interpolation=BILINEAR), x, degrees.tolist()))
    square, turns = x[..., :H], torch.arange(B) - 7
    near(A.rotate90(square, turns), each(lambda i, k: torch.rot90(i, int(k), (1, 2)), square, turns), 0)
    near(A.rotate90(square, 1), A.rotate(square, 90.0))  # the same sense


def test_translate(x):
    def one(i, dx, dy, mode):
        return TF.affine(i, angle=0, translate=[dx, dy], scale=1, shear=[0, 0], interpolation=mode)

    dx, dy = torch.randint(-W, W + 1, (B,)).float(), torch.randint(-5, 6, (B,)).float()
    near(A.translate(x, dx, dy), each(partial(one, mode=InterpolationMode.NEAREST), x, dx.tolist(), dy.tolist()))
    dx, dy = spread(-9, 9), spread(-9, 9)
    near(A.translate(x, dx, dy), each(partial(one, mode=BILINEAR), x, dx.tolist(), dy.tolist()))
    assert A.translate(torch.eye(5)[None, None], 2, 0)[0, 0, 0, 2] > 0.999  # dx > 0 is to the right


@pytest.mark.parametrize("kernel_size", [None, 3, 9, 39])
def test_blur(x, kernel_size):
    sigma = spread(0.1, 2.5, 0.05, 3.0)
    taps = kernel_size or 2 * math.ceil(3 * float(sigma.max())) + 1
    near(A.gaussian_blur(x, sigma, kernel_size), each(lambda i, s: TF.gaussian_blur(i, [taps, taps], [s]), x,
                                                      sigma.tolist()))
    near(A.gaussian_blur(x, 0.0), x, 0)
    assert A.gaussian_blur(x, 50.0).isfinite().all()  # a kernel longer than the image: as far as reflection reaches


def test_sobel(x):
    edges = [sum(torch.tensor(ndimage.sobel(c.double().numpy(), axis, mode="nearest")) ** 2 for axis in (0, 1)).sqrt()
             for c in x.flatten(0, 1)]
    near(A.sobel(x), (torch.stack(edges).view(x.shape) / 4).clamp(0, 1).float())


def test_noise(x):
    grey, std = torch.full((3, 1, 200, 200), 0.5), torch.tensor([0.0, 0.02, 0.1])
    noise = A.gaussian_noise(grey, std) - grey
    assert (noise.std((1, 2, 3)) - std).abs().max() < 1e-3 and noise.mean().abs() < 1e-3
    assert A.gaussian_noise(x, 1.0).min() >= 0 and A.gaussian_noise(x, 1.0).max() <= 1


# ---- all functions and modules: what the device, autograd and the memory format ask for ------------------------------

BOX = torch.tensor([[2.0, 3, 9, 8]])
FUNCTIONS = {
    "crop_resize": lambda x: A.crop_resize(x, BOX.expand(len(x), 4), x.shape[-1]),
    "horizontal_flip": lambda x: A.horizontal_flip(x, True),
    "rotate90": lambda x: A.rotate90(x, 1), "rotate": lambda x: A.rotate(x, 20.0),
    "translate": lambda x: A.translate(x, 1.5, -2), "adjust_brightness": lambda x: A.adjust_brightness(x, 0.7),
    "adjust_contrast": lambda x: A.adjust_contrast(x, 0.7), "adjust_saturation": lambda x: A.adjust_saturation(x, 0.7),
    "adjust_hue": lambda x: A.adjust_hue(x, 0.1), "to_grayscale": lambda x: A.to_grayscale(x, True),
    "cutout": lambda x: A.cutout(x, BOX.expand(len(x), 4)), "gaussian_blur": lambda x: A.gaussian_blur(x, 1.0),
    "sobel": A.sobel,
}
MODULES = [A.RandomResizedCrop(16), A.RandomCrop(4), A.RandomHorizontalFlip(), A.RandomRotation90(),
           A.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8), A.RandomGrayscale(0.5), A.Cutout(), A.GaussianNoise(),
           A.GaussianBlur(), A.Sobel(0.5), A.simclr_augment(40), A.moco_v1_augment(16), A.moco_v2_augment(40)]
OPERATIONS = [*FUNCTIONS.values(), partial(A.gaussian_noise, std=0.1), *MODULES]
NAMES = [*FUNCTIONS, "gaussian_noise", *(type(m).__name__ for m in MODULES)]


class NoHostSync(torch.utils._python_dispatch.TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket not in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero,
                                           torch.ops.aten.masked_select), f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("f", OPERATIONS, ids=NAMES)
def test_every_operation(f):
    torch.manual_seed(0)
    x = torch.rand(6, 3, 16, 16)
    before = x.clone()
    with NoHostSync():
        y = f(x)
    assert torch.equal(x, before), "the input was written to"
    assert y.data_ptr() != x.data_ptr() and y.is_contiguous()
    assert y.min() >= -1e-6 and y.max() <= 1 + 1e-6 and y.dtype == x.dtype
    z = f(x.to(memory_format=torch.channels_last))
    assert z.is_contiguous(memory_format=torch.channels_last) and z.shape == y.shape
    meta = f(torch.empty(6, 3, 16, 16, device="meta"))
    assert meta.device.type == "meta" and meta.shape == y.shape
    assert f(x.bfloat16()).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):  # inside training: full precision, whatever the method's own is
        assert f(x).dtype == torch.float32
    for bad, word in ((torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "255"), (x[0], r"\(3, 16, 16\)")):
        with pytest.raises(ValueError, match=word):
            f(bad)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name):
    torch.manual_seed(0)
    x = (0.2 + 0.5 * torch.rand(1, 3, 12, 12, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(FUNCTIONS[name], x, atol=1e-4, fast_mode=True)
    (g,) = torch.autograd.grad(FUNCTIONS[name](torch.full_like(x, 0.5, requires_grad=True).mul(1)).sum(), x,
                               allow_unused=True, materialize_grads=True)
    assert g.isfinite().all()


def test_gradients_of_parameters_and_flat_images():
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64) * 0.5 + 0.2
    p = torch.tensor([0.11, 0.23], dtype=torch.float64, requires_grad=True)
    for f in (A.adjust_brightness, A.adjust_contrast, A.adjust_saturation, A.adjust_hue, A.rotate):
        assert torch.autograd.gradcheck(partial(f, x), p, atol=1e-4)
    assert torch.autograd.gradcheck(lambda s: A.gaussian_blur(x, s, 7), p + 0.7)
    flat = torch.full((1, 3, 8, 8), 0.5, requires_grad=True)  # no hue, no edge: still no NaN
    (A.adjust_hue(flat, 0.2).sum() + A.sobel(flat).sum()).backward()
    assert flat.grad.isfinite().all()


def test_compiles_to_one_graph():
    x = torch.rand(4, 3, 16, 16)
    view = nn.Sequential(*A.simclr_augment(40, strength=0.5), A.RandomRotation90(), A.RandomCrop(), A.Cutout(0.1),
                         A.GaussianNoise(p=0.5), A.Sobel(p=0.1))
    y = torch.compile(view, fullgraph=True, backend="eager")(x)
    assert y.shape == (4, 3, 40, 40) and y.isfinite().all()


@pytest.mark.skipif(not shutil.which("g++"), reason="on CPUs, torch.compile writes C++")
def test_the_compilers_own_random_numbers_are_distributed_alike():
    torch.manual_seed(0)
    x = torch.full((3000, 3, 8, 8), 0.25)
    two, one = A.ColorJitter((1.5, 1.5), contrast=(0.5, 0.5)), A.ColorJitter(brightness=0.8, p=0.8)
    crop, ramp = A.RandomResizedCrop(8), torch.linspace(0, 1, 64).expand(2, 3, 64).view(2, 3, 8, 8)
    last = {"memory_format": torch.channels_last}  # asked for within the graph: the compiler stores it as it likes
    draw = torch.compile(lambda: (crop.boxes(x), one(x), two(ramp.contiguous(**last))), fullgraph=True)
    boxes, bright, views = draw()
    assert views.is_contiguous(**last)
    for a, b in zip(boxes.T.numpy(), crop.boxes(x).T.numpy(), strict=True):
        assert stats.ks_2samp(a, b, method="asymp").pvalue > 1e-3
    factor = bright[:, 0, 0, 0] / 0.25
    drawn = factor[factor != 1]
    assert abs(len(drawn) / 3000 - 0.8) < 0.03
    assert stats.kstest(drawn.numpy(), stats.uniform(0.2, 1.6).cdf).pvalue > 1e-3
    orders = torch.stack([A.adjust_contrast(A.adjust_brightness(ramp, 1.5), 0.5),
                          A.adjust_brightness(A.adjust_contrast(ramp, 0.5), 1.5)])
    distance = torch.stack([(orders - draw()[2]).abs().flatten(1).amax(1) for _ in range(60)])  # [60, 2]
    assert distance.amin(1).max() < 1e-5 and 15 < distance.argmin(1).sum() < 45


# ---- random modules: what they draw ----------------------------------------------------------------------------------

@pytest.mark.parametrize("scale, ratio, shape", [
    ((0.08, 1.0), (3 / 4, 4 / 3), (32, 32)), ((0.2, 0.6), (0.5, 2.0), (24, 40)),
    ((0.9, 1.0), (2.0, 3.0), (30, 30)), ((0.9, 1.0), (0.3, 0.5), (30, 31)),  # mostly, or always, the fallback
])
def test_crop_boxes_are_distributed_as_torchvisions(scale, ratio, shape):
    torch.manual_seed(0)
    n = 2000
    image = torch.empty(3, *shape)
    one = OneResizedCrop(8, scale=scale, ratio=ratio)
    theirs = [one.make_params([image]) for _ in range(n)]
    theirs = torch.tensor([[p[k] for k in ("top", "left", "height", "width")] for p in theirs]).float()
    ours = A.RandomResizedCrop(8, scale=scale, ratio=ratio).boxes(image.expand(n, -1, -1, -1))
    assert torch.equal(ours, ours.round()) and ours.min() >= 0
    assert (ours[:, 0] + ours[:, 2]).max() <= shape[0] and (ours[:, 1] + ours[:, 3]).max() <= shape[1]
    ours, theirs = (torch.cat([b, b[:, 2:3] * b[:, 3:], b[:, 3:] / b[:, 2:3]], 1) for b in (ours, theirs))
    for a, b in zip(ours.T.numpy(), theirs.T.numpy(), strict=True):  # four sides, area, aspect ratio
        assert (a == b).all() or stats.ks_2samp(a, b, method="asymp").pvalue > 1e-3


def test_rates_and_independence_within_the_batch():
    torch.manual_seed(0)
    x = torch.rand(1, 3, 8, 8).expand(4000, -1, -1, -1)
    band = 4 * 0.5 / 4000**0.5  # four standard errors

    def changed(f):
        return (f(x) != x).flatten(1).any(1).float()

    for p in (0.0, 0.3, 0.8, 1.0):
        for f in (A.RandomHorizontalFlip(p), A.RandomGrayscale(p), A.ColorJitter(0.4, 0.4, 0.4, 0.1, p=p),
                  A.GaussianNoise((0.05, 0.1), p), A.GaussianBlur((0.5, 1.0), p), A.Sobel(p), A.Cutout(0.5, p)):
            assert abs(changed(f).mean() - p) <= (band if 0 < p < 1 else 0), f
    flips = changed(A.RandomHorizontalFlip())
    assert abs(torch.corrcoef(torch.stack([flips[1:], flips[:-1]]))[0, 1]) < 2 * band
    turned, turns = A.RandomRotation90()(x), torch.stack([x[0].rot90(k, (1, 2)) for k in range(4)])
    which = (turned[:, None] == turns).flatten(2).all(2).float()
    assert (which.sum(1) == 1).all() and (which.mean(0) - 0.25).abs().max() < band
    x = torch.rand(1, 3, 32, 32).expand(100, -1, -1, -1)
    for f in (A.RandomResizedCrop(8), A.ColorJitter(0.4), A.ColorJitter(0, 0.4), A.ColorJitter(0, 0, 0.4),
              A.ColorJitter(hue=0.1), A.GaussianNoise(), A.GaussianBlur(p=1.0), A.Cutout()):
        assert len(f(x).flatten(1).unique(dim=0)) > 90, f


def test_jitter_factors_are_uniform():
    torch.manual_seed(0)
    x = torch.full((3000, 3, 1, 1), 0.25)
    factor = A.ColorJitter(brightness=0.8)(x)[:, 0, 0, 0] / 0.25
    assert stats.kstest(factor.numpy(), stats.uniform(0.2, 1.6).cdf).pvalue > 1e-3
    factor = A.ColorJitter(brightness=(0.5, 0.7))(x)[:, 0, 0, 0] / 0.25
    assert stats.kstest(factor.numpy(), stats.uniform(0.5, 0.2).cdf).pvalue > 1e-3
    red = torch.tensor([0.8, 0.2, 0.2]).view(1, 3, 1, 1).expand(3000, -1, -1, -1)
    g, b = A.ColorJitter(hue=0.1)(red)[:, 1:, 0, 0].unbind(1)  # within a sixth of red, hue is (g - b) / chroma / 6
    assert stats.kstest(((g - b) / 0.6 / 6).numpy(), stats.uniform(-0.1, 0.2).cdf).pvalue > 1e-3


@pytest.mark.parametrize("compiled", [False, True])
def test_jitter_order_is_drawn_at_each_call_and_is_torchvisions(compiled):
    torch.manual_seed(0)
    x = torch.rand(2, 3, 8, 8)
    f = {"brightness": 1.6, "contrast": 1.7, "saturation": 0.3, "hue": 0.3}
    jitter = A.ColorJitter(**{k: (v, v) for k, v in f.items()})
    jitter = torch.compile(jitter, fullgraph=True, backend="eager") if compiled else jitter

    def in_order(order):
        y = x
        for name in order:
            y = each(lambda i, name=name: getattr(TF, f"adjust_{name}")(i, f[name]), y)
        return y

    all_orders = torch.stack([in_order(order) for order in permutations(f)])  # [24, 2, 3, 8, 8]
    distance = torch.stack([(all_orders - jitter(x)).abs().flatten(1).amax(1) for _ in range(240)])  # [240, 24]
    assert distance.amin(1).max() < 1e-4
    assert len(distance.argmin(1).unique()) >= 20


def test_random_crop_is_pad_and_crop():
    torch.manual_seed(0)
    x = torch.rand(1, 3, 12, 12)
    padded = nn.functional.pad(x, (2, 2, 2, 2))
    windows = torch.stack([padded[0, :, i : i + 12, j : j + 12] for i in range(5) for j in range(5)])
    y = A.RandomCrop(2)(x.expand(1000, -1, -1, -1))
    distance, which = (y[:, None] - windows).abs().flatten(2).amax(2).min(1)
    assert distance.max() < 1e-4
    assert stats.chisquare(which.bincount(minlength=25).numpy()).pvalue > 1e-3


def test_cutout_covers_the_square_it_says():
    torch.manual_seed(0)
    holes = A.Cutout(0.5)(torch.ones(2000, 1, 16, 16)) == 0
    area = holes.sum((1, 2, 3))
    assert area.max() == 64 and area.min() == 16 and 0.2 < (area == 64).float().mean() < 0.4  # corners cut, often whole


def test_recipes():
    assert isinstance(A.simclr_augment(32), nn.Sequential)
    kinds = [type(step).__name__ for step in A.simclr_augment(96)]
    assert kinds == ["RandomResizedCrop", "RandomHorizontalFlip", "ColorJitter", "RandomGrayscale", "GaussianBlur"]
    assert A.simclr_augment(224)[-1].kernel_size == 23
    for recipe in (A.simclr_augment, A.moco_v1_augment, A.moco_v2_augment):
        assert not any(isinstance(step, A.GaussianBlur) for step in recipe(32))
        view, x = recipe(32), torch.rand(8, 3, 40, 36)
        assert view(x).shape == (8, 3, 32, 32)
        torch.manual_seed(3)
        first = view.eval()(x)
        torch.manual_seed(3)
        assert torch.equal(view.train()(x), first) and not torch.equal(view(x), first)  # the same in both modes
    assert A.simclr_augment(32, strength=0.5)[2].intervals["hue"] == (-0.1, 0.1)


# ---- errors name the value -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("call, word", [
    (lambda x: A.gaussian_blur(x, -1.5), "-1.5"),
    (lambda x: A.gaussian_blur(x, 1.0, 4), "4"),
    (lambda x: A.gaussian_blur(x, 1.0, 99), "99"),
    (lambda x: A.gaussian_noise(x, -0.1), "-0.1"),
    (lambda x: A.adjust_hue(x, 0.6), "0.6"),
    (lambda x: A.adjust_contrast(x, -2), "-2"),
    (lambda x: A.adjust_brightness(x, torch.ones(5)), r"\(5,\)"),
    (lambda x: A.crop_resize(x, torch.ones(2, 3), 8), r"\(2, 3\)"),
    (lambda x: A.rotate90(x[..., :7], 1), r"\(2, 3, 8, 7\)"),
    (lambda x: A.adjust_hue(x[:, :1], 0.1), r"\(2, 1, 8, 8\)"),
    (lambda x: A.adjust_saturation(x[:, :1], 0.1), r"\(2, 1, 8, 8\)"),
    (lambda x: A.to_grayscale(x[:, :1]), r"\(2, 1, 8, 8\)"),
    (lambda x: A.adjust_contrast(x[:, :2], 0.1), r"\(2, 2, 8, 8\)"),
    (lambda _: A.RandomResizedCrop(8, scale=(1.0, 0.2)), r"\(1.0, 0.2\)"),
    (lambda _: A.RandomResizedCrop(8, scale=(0.1, 2.5)), "2.5"),
    (lambda _: A.RandomHorizontalFlip(1.5), "1.5"),
    (lambda _: A.ColorJitter(hue=0.7), "0.7"),
    (lambda _: A.ColorJitter(brightness=-0.3), "-0.3"),
    (lambda _: A.GaussianBlur((-1, 2)), r"\(-1, 2\)"),
    (lambda _: A.GaussianNoise(-0.2), "-0.2"),
    (lambda _: A.Cutout(3), "3"),
    (lambda _: A.RandomCrop(-4), "-4"),
])
def test_errors(call, word):
    with pytest.raises(ValueError, match=word):
        call(torch.rand(2, 3, 8, 8))


def test_one_channel_images():
    x = torch.rand(2, 1, 9, 9)
    near(A.adjust_contrast(x, 0.4), each(lambda i: TF.adjust_contrast(i, 0.4), x))
    view = nn.Sequential(A.RandomResizedCrop(9), A.ColorJitter(0.4, 0.4), A.GaussianBlur(), A.Sobel())
    assert view(x).shape == x.shape


def test_frame_colour_counts_each_pixel_of_the_frame_once():
    x = torch.rand(2, 3, 12, 9)
    frame = torch.ones(12, 9, dtype=torch.bool)
    frame[4:-4, 4:-4] = False
    torch.testing.assert_close(frame_colour(x), x[:, :, frame].mean(dim=2))
    torch.testing.assert_close(frame_colour(torch.full((1, 3, 8, 8), 0.3), width=1), torch.full((1, 3), 0.3))
