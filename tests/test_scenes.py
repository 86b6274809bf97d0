"""`scenes`: what a picture shows follows from its factors, the label hides from the pixels, and the set is frozen."""

import hashlib
import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torchvision.transforms.v2 import functional as tv

from course_utils.datasets import scenes, shapes

LUMA = torch.tensor([0.299, 0.587, 0.114])


@pytest.fixture(scope="module")
def train():
    return scenes.generate("train", n=2000)


def upright(labels, **changes):
    """Factors of plain upright pictures, one per label."""
    n = len(labels)
    factors = {"color": torch.tensor([[0.9, 0.8, 0.2]]).repeat(n, 1), "background": torch.full((n, 2, 3), 0.2),
               "gradient_angle": torch.zeros(n), "position": torch.full((n, 2), 0.5), "scale": torch.full((n,), 0.7),
               "aspect": torch.ones(n), "tilt": torch.zeros(n), "facing": torch.ones(n), "noise": torch.zeros(n)}
    return factors | {name: torch.as_tensor(value, dtype=torch.float32).expand_as(factors[name])
                      for name, value in changes.items()}


ALL = torch.arange(10)


def test_splits_have_their_sizes_and_balanced_classes():
    for split, n in [("train", 10_000), ("val", 1_000), ("test", 2_000)]:
        made = scenes.generate(split)
        assert made.images.shape == (n, 3, 32, 32) and made.images.dtype == torch.uint8
        assert torch.bincount(made.labels).tolist() == [n // 10] * 10
    assert made.name == "scenes" and made.source == "scenes (made by code, seed 0): not photographs"
    assert len(made.classes) == 10 and set(made.factors) == set(upright(ALL))
    odd = torch.bincount(scenes.generate("val", n=23).labels, minlength=10)
    assert odd.sum() == 23 and odd.max() - odd.min() <= 1


def test_same_seed_same_bytes_and_nothing_else_is_touched():
    before = torch.random.get_rng_state()
    first, again = scenes.generate("val", n=40), scenes.generate("val", n=40)
    assert torch.equal(first.images, again.images) and torch.equal(first.labels, again.labels)
    assert torch.equal(before, torch.random.get_rng_state())
    others = [scenes.generate("train", n=40), scenes.generate("test", n=40), scenes.generate("val", n=40, seed=1)]
    assert all(not torch.equal(first.factors["color"], other.factors["color"]) for other in others)
    large = scenes.generate("val", n=40, size=64)
    assert all(torch.equal(value, large.factors[name]) for name, value in first.factors.items())


def test_no_two_splits_share_a_stream():
    colors = torch.cat([scenes.generate(s, n=200, seed=k).factors["color"] for s in scenes.SPLITS for k in range(4)])
    assert len(colors.unique(dim=0)) == len(colors)


def test_errors_name_the_choices():
    with pytest.raises(ValueError, match="train, val, test"):
        scenes.generate("validation")
    for call in [lambda: scenes.generate(n=0), lambda: scenes.triples(0), lambda: scenes.generate(n=4, size=4),
                 lambda: scenes.render(torch.tensor([10]), **upright(torch.tensor([10]))),
                 lambda: scenes.mask(torch.tensor([-1]), **upright(torch.tensor([0])))]:
        with pytest.raises(ValueError):
            call()


def test_background_is_the_gradient_that_the_factors_say(train):
    few = train[:100]
    clean = scenes.render(few.labels, **few.factors).float() / 255
    outside = scenes.mask(few.labels, **few.factors)[:, 0] == 0
    for i in range(100):
        angle = math.radians(float(few.factors["gradient_angle"][i]))
        y, x = (np.mgrid[0:32, 0:32] + 0.5) / 32 - 0.5
        along = 0.5 + (x * math.cos(angle) + y * math.sin(angle)) / (abs(math.cos(angle)) + abs(math.sin(angle)))
        first, second = few.factors["background"][i].double().numpy()
        expected = first[:, None, None] * (1 - along) + second[:, None, None] * along
        difference = np.abs(clean[i].numpy() - expected)[:, outside[i].numpy()]
        assert difference.max() <= 0.5 / 255 + 1e-5


def test_gradient_angle_points_right_then_down():
    ends = torch.tensor([[0.2, 0.2, 0.2], [0.8, 0.8, 0.8]])
    right, down = scenes.render(torch.tensor([0, 0]), **upright(torch.tensor([0, 0]), background=ends,
                                gradient_angle=[0.0, 90.0], position=9.0)).float() / 255  # the object is far outside
    assert right[0, 0, 0] < 0.25 and right[0, 0, -1] > 0.75 and torch.equal(down, right.transpose(1, 2))


def test_noise_has_the_recorded_strength():
    factors = upright(ALL[:2], background=0.5, position=9.0, noise=[0.01, 0.03])
    noisy = scenes.render(ALL[:2], **factors, size=128, generator=torch.Generator().manual_seed(0)).float() / 255
    rounding = 1 / 255 / math.sqrt(12)
    for picture, std in zip(noisy, (0.01, 0.03), strict=True):
        assert float(picture.std()) == pytest.approx(math.hypot(std, rounding), rel=0.03)


def test_object_colour_appears_where_the_mask_says():
    for colour in [(0.9, 0.8, 0.2), (0.05, 0.1, 0.15)]:
        picture = scenes.render(ALL, **upright(ALL, color=colour, background=0.45), size=64).float() / 255
        mask = scenes.mask(ALL, **upright(ALL), size=64)[:, 0]
        different = (picture - 0.45).abs().amax(1) > 1.5 / 255
        assert not (different & (mask == 0)).any()
        for c in range(10):
            exact = (picture[c] - torch.tensor(colour)[:, None, None]).abs().amax(0) < 1 / 255
            assert exact.sum() > 100, scenes.CLASSES[c]
            assert different[c][mask[c] == 1].float().mean() > 0.99, scenes.CLASSES[c]


def test_objects_stand_out_in_grey():
    factors = scenes.generate("train").factors
    gap = ((factors["color"] @ LUMA)[:, None] - factors["background"] @ LUMA)
    assert float(gap.abs().min()) > 0.199 and bool((gap[:, 0] * gap[:, 1] > 0).all())
    assert all(factors[name].min() >= 0 and factors[name].max() <= 1 for name in ("color", "background"))


def test_position_scale_aspect_facing_and_tilt_move_the_mask():
    base = scenes.mask(ALL, **upright(ALL), size=64)
    moved = scenes.mask(ALL, **upright(ALL, position=[0.5 + 8 / 64, 0.5 - 4 / 64]), size=64)
    assert torch.allclose(moved, base.roll((-4, 8), (2, 3)), atol=1e-4)
    mirrored = scenes.mask(ALL, **upright(ALL, facing=-1.0), size=64)
    assert torch.allclose(mirrored, base.flip(3), atol=1e-4)
    small = scenes.mask(ALL, **upright(ALL, scale=0.35), size=64)
    assert torch.allclose(small.sum((1, 2, 3)) * 4, base.sum((1, 2, 3)), rtol=0.04)
    square = scenes.mask(ALL, **upright(ALL), size=80)
    wide = scenes.mask(ALL, **upright(ALL, aspect=1.25**2), size=80)
    stretched = tv.center_crop(tv.resize(square, [64, 100]), [80, 80])  # 1.25 times lower and wider: the same area
    assert (wide - stretched).abs().mean() < 0.01 < (wide - square).abs().mean()
    tilted = scenes.mask(ALL, **upright(ALL, tilt=20.0), size=64)
    turned = tv.rotate(base, 20.0, interpolation=tv.InterpolationMode.BILINEAR)  # counter-clockwise
    assert (tilted - turned).abs().mean() < 0.01 < (tilted - base).abs().mean()


def test_edges_are_smooth_at_every_size():
    for size in (32, 96):
        mask = scenes.mask(ALL, **upright(ALL), size=size)
        assert mask.min() >= 0 and mask.max() == 1
        assert bool((((mask > 0.02) & (mask < 0.98)).float().mean((1, 2, 3)) > 0.01).all())
    coarse, fine = (scenes.mask(ALL, **upright(ALL), size=size).mean((1, 2, 3)) for size in (32, 160))
    assert torch.allclose(coarse, fine, rtol=0.06)  # the same object, not the same pixels


def test_every_object_has_a_way_up_and_differs_from_the_others():
    pictures = scenes.render(ALL, **upright(ALL)).float() / 255
    masks = scenes.mask(ALL, **upright(ALL))
    jitter = scenes.render(ALL, **upright(ALL, tilt=6.0)).float() / 255  # a change that should not matter
    for c in range(10):
        turned = [pictures[c].rot90(k, (1, 2)) for k in (1, 2, 3)]
        wobble = (pictures[c] - jitter[c]).square().mean()
        assert all((pictures[c] - other).square().mean() > 1.5 * wobble for other in turned), scenes.CLASSES[c]
        for d in range(c):
            overlap = torch.minimum(masks[c], masks[d]).sum() / torch.maximum(masks[c], masks[d]).sum()
            assert overlap < 0.8, (scenes.CLASSES[c], scenes.CLASSES[d])


def test_labels_hide_from_colour_and_background(train):
    for name in ("color", "background", "gradient_angle", "position", "scale", "aspect", "tilt", "facing", "noise"):
        values = train.factors[name].flatten(1) if train.factors[name].ndim > 1 else train.factors[name][:, None]
        error = values.std(0) / math.sqrt(200)
        for c in range(10):
            assert bool(((values[train.labels == c].mean(0) - values.mean(0)).abs() < 4.5 * error).all()), (name, c)


def test_pixels_follow_the_background_not_the_class(train):
    pixels = train.float_images().flatten(1)
    first, second = torch.randperm(2000, generator=torch.Generator().manual_seed(0)).view(2, 1000)
    distance = (pixels[first] - pixels[second]).norm(dim=1)
    mean = train.factors["background"].mean(1)
    background = (mean[first] - mean[second]).norm(dim=1)
    different = (train.labels[first] != train.labels[second]).float()
    assert spearmanr(distance, background).statistic > 0.8
    assert abs(spearmanr(distance, different).statistic) < 0.12
    neighbour = torch.cdist(pixels, pixels).fill_diagonal_(float("inf")).argmin(1)
    assert (mean[neighbour] - mean).norm(dim=1).mean() < 0.75 * torch.cdist(mean, mean).mean()


def test_three_images_are_the_lecture_picture():
    three = scenes.three_images()
    assert three.labels[0] == three.labels[1] != three.labels[2]
    background = three.factors["background"]
    assert torch.equal(background[0], background[2]) and not torch.equal(background[0], background[1])
    x1, x2, x3 = three.float_images().flatten(1)
    assert (x1 - x3).norm() < 0.7 * (x1 - x2).norm()
    assert scenes.three_images(size=96).images.shape == (3, 3, 96, 96)


def test_triples_fool_pixels():
    made = scenes.triples(300)
    assert made.images.shape == (900, 3, 32, 32)
    labels, background = made.labels.view(300, 3), made.factors["background"].view(300, 3, 2, 3)
    assert torch.equal(labels[:, 0], labels[:, 1]) and bool((labels[:, 0] != labels[:, 2]).all())
    assert torch.equal(background[:, 0], background[:, 2])
    pixels = made.float_images().flatten(1).view(300, 3, -1)
    nearer_to_x2 = (pixels[:, 0] - pixels[:, 1]).norm(dim=1) < (pixels[:, 0] - pixels[:, 2]).norm(dim=1)
    assert nearer_to_x2.float().mean() < 0.2
    for by, share in ((made.labels, 1.0), (background[..., 0, :].reshape(900, 3).sum(1), 0.0)):  # an angle for each
        z = 7 * torch.stack([by.float().cos(), by.float().sin()], dim=1)  # the length must not matter
        assert scenes.same_thing_nearer(z * (1 + torch.arange(900)[:, None] % 3)) == share
    gap = (made.factors["color"] @ LUMA)[:, None] - made.factors["background"] @ LUMA
    assert float(gap.abs().min()) > 0.199


def test_distances_against_closed_forms():
    points = torch.rand(400, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    x, y = points.double().numpy().T
    square = [(-0.3, -0.2), (0.5, -0.2), (0.5, 0.4), (-0.3, 0.4)]
    dx, dy = np.maximum(-0.3 - x, x - 0.5), np.maximum(-0.2 - y, y - 0.4)
    expected = np.hypot(dx.clip(0), dy.clip(0)) + np.maximum(dx, dy).clip(max=0)
    assert np.allclose(shapes.polygon(points, square), expected, atol=1e-5)
    assert np.allclose(shapes.box(points, -0.3, -0.2, 0.5, 0.4), expected, atol=1e-5)
    assert np.allclose(shapes.circle(points, 0.1, 0.2, 0.3), np.hypot(x - 0.1, y - 0.2) - 0.3, atol=1e-5)
    ring = shapes.arc(0.1, 0.2, 0.3, 0.3, steps=400)
    assert np.allclose(shapes.polygon(points, ring), np.hypot(x - 0.1, y - 0.2) - 0.3, atol=1e-3)
    line = np.hypot(x - x.clip(-0.5, 0.5), y) - 0.05
    assert np.allclose(shapes.stroke(points, [(-0.5, 0.0), (0.5, 0.0)], 0.1), line, atol=1e-5)


# The set is frozen: checkpoints and results refer to these very pictures. The one place where the code's own output is
# its oracle. Elsewhere floating point may round a few pixels differently, so coarse means stand in for the hash.
FROZEN = {
    "train": ("4097999273194021036667168671771679706455844417734707715532699757",
             "6210fd8e27039a65a54392a099310c4733a1717e2a53646b4a274758ffdc3fe1",
             [116.50, 113.57, 110.57, 109.23, 127.56, 129.42, 125.12, 126.16, 122.85, 124.48, 119.21, 120.10]),
    "val": ("5366933998852075042805299665328592183249571895805344427337746933",
           "21ac3e32df79a72923e8f64a7fbe3c1faecf52a7f621a657167dac3f10a03e4c",
           [130.64, 123.91, 132.64, 130.49, 128.94, 120.98, 130.83, 128.09, 126.74, 122.70, 129.75, 127.23]),
    "test": ("8756648122045358372307973588705724055338848836582926060391740741",
            "5dc9ae17daf6a71182f2e93f769a55bb933ced6194814d2ed3a85018b20db962",
            [126.53, 129.23, 121.26, 125.95, 116.17, 123.78, 112.50, 120.75, 123.04, 129.12, 120.03, 124.07]),
}


def fingerprint(images):
    return torch.nn.functional.adaptive_avg_pool2d(images.double(), 2).mean(0).flatten()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_set_is_frozen(split):
    made = scenes.generate(split)[:64]
    labels, digest, means = FROZEN[split]
    assert "".join(map(str, made.labels.tolist())) == labels
    if hashlib.sha256(made.images.numpy().tobytes()).hexdigest() != digest:
        assert torch.allclose(fingerprint(made.images), torch.tensor(means, dtype=torch.float64), rtol=0, atol=0.05)
