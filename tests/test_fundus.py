"""`fundus`: the label is in the lesions and in nothing else, and the recorded factors say what is in the picture."""

import pytest
import torch
from scipy.ndimage import center_of_mass
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score

from course_utils.datasets import fundus


@pytest.fixture(scope="module")
def train():
    return fundus.generate("train", n=1200)


@pytest.fixture(scope="module")
def pair():
    """The same forty eyes with lesions and with lesions of no contrast."""
    return [fundus.generate("val", n=40, size=96, prevalence=1.0, lesion_contrast=c) for c in (0.9, 0.0)]


def test_shapes_names_and_prevalence(train):
    assert train.images.shape == (1200, 3, 64, 64) and train.images.dtype == torch.uint8
    assert train.classes == ("no or mild", "moderate or worse") and train.name == "fundus"
    assert "made by code" in train.source and "patients" in train.source
    assert int(train.labels.sum()) == 360
    for prevalence, ill in [(0.0, 0), (0.05, 10), (1.0, 200)]:
        assert int(fundus.generate("test", n=200, size=16, prevalence=prevalence).labels.sum()) == ill


def test_default_sizes():
    sizes = {split: len(fundus.generate(split, size=16)) for split in ("train", "val", "test")}
    assert sizes == {"train": 4_000, "val": 1_000, "test": 2_000}


def test_same_seed_same_bytes_and_nothing_else_is_touched():
    before = torch.random.get_rng_state()
    first, again = fundus.generate("val", n=50), fundus.generate("val", n=50)
    assert torch.equal(first.images, again.images)
    assert torch.equal(before, torch.random.get_rng_state())
    others = [fundus.generate("train", n=50), fundus.generate("test", n=50), fundus.generate("val", n=50, seed=1)]
    assert all(not torch.equal(first.factors["pigment"], other.factors["pigment"]) for other in others)
    large = fundus.generate("val", n=50, size=128)
    assert all(torch.equal(value, large.factors[name]) for name, value in first.factors.items())
    shrunk = torch.nn.functional.avg_pool2d(large.float_images(), 2)
    assert (shrunk - first.float_images()).abs().mean() < 0.02  # the same eyes, seen more finely


def test_errors_name_the_choices():
    with pytest.raises(ValueError, match="train, val, test"):
        fundus.generate("training")
    for wrong in [{"n": 0}, {"size": 8}, {"prevalence": 1.5}, {"prevalence": -0.1}, {"lesion_size": -1.0},
                  {"lesion_contrast": 2.0}]:
        with pytest.raises(ValueError):
            fundus.generate(**({"n": 4} | wrong))


def test_grade_follows_the_lesions_and_label_the_grade(train):
    grade, count = train.factors["grade"], train.factors["lesion_count"]
    assert torch.equal(train.labels, (grade >= 2).long())
    assert set(grade.tolist()) == {0, 1, 2, 3, 4}
    assert int(count[grade == 0].sum()) == 0
    mild = count[grade == 1]
    assert int(mild[:, 0].min()) >= 1 and int(mild[:, 1:].sum()) == 0
    assert int(count[grade >= 2][:, 1].min()) >= 1  # a haemorrhage at least
    means = torch.stack([count[grade == g].sum(1).float().mean() for g in (0, 1, 2, 3)])
    assert bool((means.diff() > 0).all())


def test_nothing_but_lesions_differs_between_healthy_and_ill(train):
    for name in ("pigment", "exposure", "right_eye"):
        values = train.factors[name]
        ill, well = values[train.labels == 1], values[train.labels == 0]
        error = values.std() * (1 / len(ill) + 1 / len(well)) ** 0.5
        assert (ill.mean() - well.mean()).abs() < 4 * error, name


def test_lesions_are_small_local_changes(pair):
    ill, well = pair
    assert all(torch.equal(ill.factors[n], well.factors[n]) for n in ("grade", "lesion_count", "pigment", "macula"))
    changed = (ill.images.float() - well.images.float()).abs().amax(1) > 12
    share = changed.flatten(1).float().mean(1)
    assert bool((share > 0.0005).all()) and float(share.max()) < 0.08


def test_dark_lesions_darken_and_bright_ones_brighten(pair):
    ill, well = pair
    green = (ill.images.float() - well.images.float())[:, 1]
    with_exudates = ill.factors["lesion_count"][:, 2] > 0
    assert bool((green.amin((1, 2)) < -12).all())
    assert bool((green[with_exudates].amax((1, 2)) > 12).all()) and float(green[~with_exudates].max()) <= 1


def test_larger_lesions_cover_more():
    def changed(lesion_size):
        kwargs = {"n": 30, "size": 96, "prevalence": 1.0, "lesion_size": lesion_size}
        ill, well = (fundus.generate("val", **kwargs, lesion_contrast=c) for c in (0.9, 0.0))
        return ((ill.images.float() - well.images.float()).abs().amax(1) > 12).float().mean()

    assert 2.5 < changed(1.4) / changed(0.7) < 6  # four times the area


def test_optic_disc_and_macula_lie_where_the_factors_say():
    healthy = fundus.generate("val", n=60, size=64, prevalence=0.0, lesion_contrast=0.0)
    red, green, blue = healthy.float_images().unbind(1)
    for i in range(60):
        blueness = (blue[i] / red[i].clamp(min=0.2)).numpy()  # the disc is the whitest place
        y, x = center_of_mass(blueness > 0.85 * blueness.max())
        found = torch.tensor([(x + 0.5) / 64, (y + 0.5) / 64])
        assert (found - healthy.factors["optic_disc"][i]).norm() < 0.08
        assert bool((found[0] > 0.5) == bool(healthy.factors["right_eye"][i]))
    place = (healthy.factors["macula"] * 64).long()
    rows = torch.arange(60)
    at_macula = (green / red.clamp(min=0.2))[rows, place[:, 1], place[:, 0]]
    opposite = (green / red.clamp(min=0.2))[rows, place[:, 1], (place[:, 0] + torch.where(
        healthy.factors["right_eye"] > 0, -16, 16)).clamp(2, 61)]
    assert (at_macula < opposite).float().mean() > 0.95


def test_outside_the_field_is_black(train):
    corners = train.images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert int(corners.max()) < 40 and float(corners.float().mean()) < 6


def test_pixels_are_not_enough_for_a_linear_model_but_lesions_are(train):
    test = fundus.generate("test", n=600)
    shrink = torch.nn.functional.avg_pool2d
    fit, held_out = (shrink(s.float_images(), 4).flatten(1).numpy() for s in (train, test))
    score = RidgeClassifier(alpha=1.0).fit(fit, train.labels).decision_function(held_out)
    assert roc_auc_score(test.labels, score) < 0.65
    dark = test.factors["lesion_count"][:, :2].sum(1)
    assert roc_auc_score(test.labels, dark) > 0.95
