"""`ImageSet` and the seeded draws from it, against counting by hand and PIL's resize."""

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils.datasets import ImageSet
from course_utils.datasets.imageset import balanced_indices, concat, limited_indices, resize_square


def make(n=12, classes=3, **changes):
    images = torch.arange(n * 12, dtype=torch.uint8).reshape(n, 3, 2, 2)
    fields = {"images": images, "labels": torch.arange(n) % classes, "classes": tuple("abcdefghij"[:classes]),
              "name": "toy", "source": "made by hand",
              "factors": {"x": torch.arange(n).float()}}
    return ImageSet(**{**fields, **changes})


@pytest.mark.parametrize("index", [torch.tensor([3, 1]), torch.arange(12) % 5 == 0, slice(2, 6), 7, -1,
                                   torch.tensor(4)])
def test_indexing_keeps_images_labels_and_factors_together(index):
    part, rows = make()[index], np.atleast_1d(np.arange(12)[index])
    assert part.factors["x"].tolist() == rows.tolist() and part.labels.tolist() == (rows % 3).tolist()
    assert torch.equal(part.images, make().images[rows]) and part.classes == ("a", "b", "c") and len(part) == len(rows)


def test_float_images_lie_between_zero_and_one():
    images = make().float_images()
    assert images.dtype == torch.float32 and images.min() == 0 and images.max() <= 1
    assert torch.equal((images * 255).round().to(torch.uint8), make().images)


@pytest.mark.parametrize(("changes", "message"), [
    ({"images": torch.zeros(12, 3, 2, 2)}, "uint8"),
    ({"images": torch.zeros(12, 2, 2, dtype=torch.uint8)}, "uint8"),
    ({"labels": torch.zeros(11, dtype=torch.int64)}, "12 images but 11 labels"),
    ({"labels": torch.zeros(12, dtype=torch.int32)}, "int64"),
    ({"labels": torch.full((12,), 3)}, "3 classes"),
    ({"labels": torch.full((12,), -1)}, "from -1"),
    ({"labels": torch.zeros(12, 1, dtype=torch.int64)}, "float"),
    ({"labels": torch.zeros(12, 2)}, r"\[N, 3\]|\[N, 3"),
    ({"labels": torch.zeros(12, 3, 1)}, "shape"),
    ({"factors": {"x": torch.zeros(5)}}, "factor 'x'"),
])
def test_disagreeing_parts_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_concat_and_move():
    both = concat(make()[:2], make()[5:6]).to("cpu")
    assert both.factors["x"].tolist() == [0, 1, 5] and both.labels.tolist() == [0, 1, 2]


def test_few_is_balanced_seeded_and_nested():
    data = make(60)
    few, more = data.few(3, seed=1), data.few(5, seed=1)
    assert few.labels.bincount().tolist() == [3, 3, 3]
    assert set(few.factors["x"].tolist()) < set(more.factors["x"].tolist())
    assert torch.equal(few.images, data.few(3, seed=1).images)
    assert set(few.factors["x"].tolist()) != set(data.few(3, seed=2).factors["x"].tolist())
    with pytest.raises(ValueError, match="smallest class"):
        data.few(21)
    with pytest.raises(ValueError, match="multi-label"):
        balanced_indices(torch.zeros(4, 2), 1, 2, 0)


@pytest.mark.parametrize("limit", [1, 9, 10, 23, 99])
def test_limit_is_even_within_one(limit):
    labels = torch.arange(10).repeat_interleave(10)  # sorted by class: the first N would be one class
    chosen = limited_indices(labels, limit, seed=0)
    counts = labels[chosen].bincount(minlength=10)
    assert len(chosen) == len(set(chosen.tolist())) == limit and counts.max() - counts.min() <= 1
    assert torch.equal(chosen, limited_indices(labels, limit, seed=0))
    assert not torch.equal(chosen.sort().values, torch.arange(limit))


def test_limit_keeps_proportions_where_a_class_is_too_small():
    labels = torch.tensor([0] * 900 + [1] * 95 + [2] * 5)
    assert labels[limited_indices(labels, 100, 0)].bincount().tolist() == [90, 9, 1]
    assert labels[limited_indices(labels, 15, 0)].bincount().tolist() == [5, 5, 5]
    assert labels[limited_indices(labels, 3, 0, balanced=False)].bincount().tolist() == [1, 1, 1]
    assert labels[limited_indices(labels, 999, 0)].bincount().sum() == 999
    assert sorted(limited_indices(labels, 5000, 0).tolist()) == list(range(1000))


def test_limit_leaves_out_classes_that_do_not_occur_and_takes_multi_label_at_random():
    labels = torch.tensor([0, 0, 0, 2, 2, 2])
    assert labels[limited_indices(labels, 4, 0)].bincount().tolist() == [2, 0, 2]
    chosen = limited_indices(torch.zeros(50, 4), 10, seed=3)
    assert len(set(chosen.tolist())) == 10 and chosen.tolist() != list(range(10))


@pytest.mark.parametrize("limit", [0, -3, 2.5, True, "7"])
def test_limit_must_be_a_positive_whole_number(limit):
    with pytest.raises(ValueError, match="limit"):
        limited_indices(torch.zeros(5, dtype=torch.int64), limit, 0)


@pytest.mark.parametrize("size", [14, 28, 64])
def test_resize_equals_pil(size):
    picture = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    ours = resize_square(torch.from_numpy(picture).permute(2, 0, 1)[None], size)[0].permute(1, 2, 0).numpy()
    oracle = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR))
    assert ours.dtype == np.uint8 and np.abs(ours.astype(int) - oracle.astype(int)).max() <= 1


def test_resize_cuts_out_the_centre_of_oblong_images():
    picture = torch.zeros(2, 3, 10, 30, dtype=torch.uint8)
    picture[..., 10:20] = 200
    assert (resize_square(picture, 10) == 200).all() and resize_square(picture[:0], 10).shape == (0, 3, 10, 10)
