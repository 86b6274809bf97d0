"""Neighbours, votes, probes and intervals against scikit-learn, FAISS, SciPy and closed forms; frozen encoders."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from torch import nn

from course_utils import datasets, encoders
from course_utils.evaluation import (
    _top_k,
    features,
    fine_tune,
    frozen,
    knn_accuracy,
    knn_predict,
    label_efficiency,
    linear_probe,
    mean_interval,
    nearest_neighbors,
    wilson_interval,
)


@pytest.fixture
def clusters():
    """Five overlapping classes in 16 dimensions: (train_z, train_y, test_z, test_y)."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 16, generator=generator)

    def draw(n):
        y = torch.randint(0, 5, (n,), generator=generator)
        return centres[y] + 1.5 * torch.randn(n, 16, generator=generator), y

    return *draw(400), *draw(150)


@pytest.fixture
def encoder():
    """A small network with BatchNorm whose parts stand in different modes."""
    torch.manual_seed(0)
    encoder = encoders.resnet10("fast", width=4)
    encoder.train()
    encoder.layer2.eval()
    return encoder


@pytest.fixture(scope="module")
def scenes():
    return datasets.load("scenes", "train", limit=40)


def state_of(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def modes_of(module):
    return [part.training for part in module.modules()]


def same_state(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# --- features -------------------------------------------------------------------------------------------

def test_features_leave_parameters_buffers_and_modes_as_they_were(encoder, scenes):
    before, modes = state_of(encoder), modes_of(encoder)
    z = features(encoder, scenes)
    assert z.shape == (40, encoder.feature_dim) and z.dtype == torch.float32 and not z.requires_grad
    assert same_state(before, encoder.state_dict()) and modes == modes_of(encoder) and len(set(modes)) == 2


def test_modes_are_restored_even_after_an_exception(encoder, scenes):
    before, modes = state_of(encoder), modes_of(encoder)
    with pytest.raises(KeyError):
        features(encoder, scenes, stage="stage99")
    with pytest.raises(RuntimeError, match="in the middle"), frozen(encoder):
        assert not any(modes_of(encoder)) and not torch.is_grad_enabled()
        raise RuntimeError("in the middle")
    assert same_state(before, encoder.state_dict()) and modes == modes_of(encoder) and torch.is_grad_enabled()


def test_every_image_has_its_features_whatever_the_batch_size(encoder, scenes):
    with frozen(encoder):
        expected = torch.stack([encoder(image[None])[0] for image in scenes.float_images()])
    for batch_size in (7, 40, 1000):  # 40 is no multiple of 7
        assert torch.allclose(features(encoder, scenes, batch_size=batch_size), expected, atol=1e-5)


def test_bytes_and_floats_have_the_same_features(encoder, scenes):
    assert torch.equal(features(encoder, scenes.images), features(encoder, scenes.float_images()))


def test_a_stage_is_pooled_over_its_map(encoder, scenes):
    with frozen(encoder):
        expected = encoder.stages(scenes.float_images())["stage2"].flatten(2).mean(2)
    assert torch.allclose(features(encoder, scenes, stage="stage2"), expected, atol=1e-5)


def test_size_resizes_each_batch_first(encoder, scenes):
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            seen.append((tuple(x.shape[1:]), float(x.min()) >= 0, float(x.max()) <= 1))
            return x.flatten(1)

    features(Spy(), scenes[:3], size=48)
    features(Spy(), torch.zeros(2, 3, 20, 48), size=48)  # as wide as asked, but not as high
    assert seen == [((3, 48, 48), True, True)] * 2


# --- nearest neighbours ---------------------------------------------------------------------------------

@pytest.mark.parametrize(("metric", "oracle"), [("cosine", "cosine"), ("l2", "euclidean"), ("l1", "manhattan")])
def test_neighbours_equal_scikit_learn(clusters, metric, oracle):
    bank, _, query, _ = clusters
    expected, where = NearestNeighbors(n_neighbors=7, metric=oracle, algorithm="brute").fit(bank.double()).kneighbors(
        query.double())
    distance, index = nearest_neighbors(query, bank, 7, metric)
    assert np.array_equal(index, where)
    assert np.allclose(distance, expected, atol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_neighbours_equal_a_flat_faiss_index(clusters, metric):
    faiss = pytest.importorskip("faiss")
    bank, _, query, _ = clusters
    a, b = (nn.functional.normalize(z).numpy() if metric == "cosine" else z.numpy() for z in (query, bank))
    flat = (faiss.IndexFlatIP if metric == "cosine" else faiss.IndexFlatL2)(bank.shape[1])
    flat.add(b)
    score, where = flat.search(a, 9)
    distance, index = nearest_neighbors(query, bank, 9, metric)
    assert np.array_equal(index, where)
    assert np.allclose(distance, 1 - score if metric == "cosine" else np.sqrt(score), atol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "l2", "l1"])
def test_chunks_do_not_change_neighbours(clusters, metric):
    bank, _, query, _ = clusters
    _, whole = nearest_neighbors(query, bank, 5, metric, chunk=10_000)
    for chunk in (1, 64, 149):
        assert torch.equal(nearest_neighbors(query, bank, 5, metric, chunk=chunk)[1], whole)


@pytest.mark.parametrize("metric", ["cosine", "l2", "l1"])
def test_each_point_is_its_own_nearest_neighbour(clusters, metric):
    bank = clusters[0]
    distance, index = nearest_neighbors(bank, bank, 1, metric)
    assert torch.equal(index[:, 0], torch.arange(len(bank)))
    assert distance.abs().max() < (1e-2 if metric == "l2" else 1e-5)  # a root turns 1e-5 into 3e-3


def test_euclidean_neighbours_survive_features_far_from_the_origin(clusters):
    bank, _, query, _ = clusters
    expected = nearest_neighbors(query, bank, 5, "l2")
    distance, index = nearest_neighbors(query + 300, bank + 300, 5, "l2")
    assert (index == expected[1]).float().mean() > 0.99  # adding 300 rounds the features themselves by 3e-5
    assert torch.allclose(distance, expected[0], atol=1e-2)


def test_images_are_compared_as_vectors():
    images = torch.rand(12, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(nearest_neighbors(images, images, 3, "l2")[1],
                       nearest_neighbors(images.flatten(1), images.flatten(1), 3, "l2")[1])


def test_impossible_searches_are_refused(clusters):
    bank, _, query, _ = clusters
    for k in (0, len(bank) + 1):
        with pytest.raises(ValueError, match="400"):
            nearest_neighbors(query, bank, k)
    with pytest.raises(ValueError, match="'cosine', 'l2' or 'l1'"):
        nearest_neighbors(query, bank, 1, "chebyshev")
    with pytest.raises(ValueError, match="different feature sizes"):
        nearest_neighbors(query[:, :5], bank, 1)
    for bad in (math.nan, math.inf):
        broken = bank.clone()
        broken[3, 2] = bad
        with pytest.raises(ValueError, match="bank features hold NaN"):
            nearest_neighbors(query, broken, 1)
        with pytest.raises(ValueError, match="query features hold NaN"):
            nearest_neighbors(broken, bank, 1)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("width", "k"), [(1, 1), (63, 5), (64, 1), (255, 1), (256, 1), (257, 1), (1279, 5), (1280, 5),
                                          (1281, 5), (1343, 5), (1344, 5), (5000, 19), (5000, 20), (6000, 20)])
def test_blockwise_top_k_equals_topk(width, k, ties):
    generator = torch.Generator().manual_seed(width + k)
    score = torch.randn(13, width, generator=generator)
    score = (score * 2).round() if ties else score
    best, index = _top_k(score, k)
    expected = score.topk(k)
    assert torch.equal(best, expected.values)
    assert torch.equal(score.gather(1, index), best)
    assert all(len(set(row)) == k for row in index.tolist())  # ties may come in another order, but no entry twice
    assert ties or torch.equal(index, expected.indices)


def test_blockwise_top_k_finds_winners_in_one_block_and_in_the_rest():
    score = torch.zeros(2, 64 * 40 + 9)
    score[0, 128:133] = torch.arange(5.0) + 1
    score[1, -5:] = torch.arange(5.0) + 1
    assert _top_k(score, 5)[1].tolist() == [[132, 131, 130, 129, 128], list(range(2568, 2563, -1))]


# --- votes ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (200, 0.1), (20, 1.0)])
def test_the_vote_equals_scikit_learn(clusters, k, temperature):
    train_z, train_y, test_z, test_y = clusters
    oracle = KNeighborsClassifier(k, metric="cosine", algorithm="brute",
                                  weights=lambda d: np.exp((1 - d) / temperature))
    oracle.fit(train_z.double(), train_y)
    assert np.array_equal(knn_predict(train_z, train_y, test_z, k, temperature), oracle.predict(test_z.double()))
    assert knn_accuracy(train_z, train_y, test_z, test_y, k, temperature) == pytest.approx(
        oracle.score(test_z.double(), test_y))


def test_a_very_small_temperature_is_the_single_nearest_neighbour(clusters):
    train_z, train_y, test_z, _ = clusters
    nearest = train_y[nearest_neighbors(test_z, train_z, 1)[1][:, 0]]
    assert torch.equal(knn_predict(train_z, train_y, test_z, 20, temperature=1e-4), nearest)


def test_classes_come_from_the_training_labels_alone(clusters):
    train_z, train_y, test_z, test_y = clusters
    seen = train_y < 3
    prediction = knn_predict(train_z[seen], train_y[seen], test_z)
    assert set(prediction.tolist()) == {0, 1, 2}
    expected = (prediction == test_y).float().mean().item()  # labels 3 and 4 count as wrong, and crash nothing
    assert knn_accuracy(train_z[seen], train_y[seen], test_z, test_y) == expected
    probe = linear_probe(train_z[seen], train_y[seen], test_z, test_y)
    assert probe.weight.shape == (3, 16) and set(probe.predict(test_z).tolist()) <= {0, 1, 2}


def test_labels_that_do_not_fit_their_features_are_refused(clusters):
    train_z, train_y, test_z, test_y = clusters
    for train, test in ((train_y[:-1], test_y), (train_y, test_y[:-1]), (train_y[:, None], test_y),
                        (train_y.float(), test_y)):
        with pytest.raises(ValueError, match="integer labels of shape"):
            knn_accuracy(train_z, train, test_z, test)
        with pytest.raises(ValueError, match="integer labels of shape"):
            linear_probe(train_z, train, test_z, test)
    with pytest.raises(ValueError, match="temperature"):
        knn_predict(train_z, train_y, test_z, temperature=0)


# --- linear evaluation ----------------------------------------------------------------------------------

@pytest.mark.parametrize("l2", [1e-3, 1e-1])
def test_the_probe_is_scikit_learns_logistic_regression(clusters, l2):
    train_z, train_y, test_z, test_y = clusters
    probe = linear_probe(train_z, train_y, test_z, test_y, l2=l2)
    mean, std = train_z.double().mean(0), train_z.double().std(0, correction=0)
    oracle = LogisticRegression(C=1 / (len(train_z) * l2), tol=1e-8, max_iter=2000)
    oracle.fit((train_z - mean) / std, train_y)
    assert np.allclose(probe.weight, oracle.coef_, atol=1e-2)
    # Softmax does not change when all biases move together.
    assert np.allclose(probe.bias - probe.bias.mean(), oracle.intercept_ - oracle.intercept_.mean(), atol=1e-2)
    assert np.mean(probe.predict(test_z).numpy() == oracle.predict((test_z - mean) / std)) > 0.99
    assert probe.accuracy == pytest.approx((probe.predict(test_z) == test_y).float().mean().item())
    assert probe.interval == wilson_interval(probe.accuracy, len(test_y))


def test_the_probe_does_not_care_about_scale_shift_or_dead_features(clusters):
    train_z, train_y, test_z, test_y = clusters
    plain = linear_probe(train_z, train_y, test_z, test_y)
    scale, shift = torch.logspace(-2, 3, 16), torch.linspace(-5, 5, 16)
    moved = linear_probe(train_z * scale + shift, train_y, test_z * scale + shift, test_y)
    assert (moved.predict(test_z * scale + shift) == plain.predict(test_z)).float().mean() > 0.99
    dead = [torch.cat([z, torch.full((len(z), 1), 3.0)], dim=1) for z in (train_z, test_z)]
    probe = linear_probe(dead[0], train_y, dead[1], test_y)
    assert torch.equal(probe.predict(dead[1]), plain.predict(test_z))
    assert torch.isfinite(probe.weight).all()


def test_the_probe_refuses_features_that_are_not_finite(clusters):
    train_z, train_y, test_z, test_y = clusters
    test_z[5] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        linear_probe(train_z, train_y, test_z, test_y)


# --- few labels and fine-tuning -------------------------------------------------------------------------

def test_label_efficiency_is_the_mean_of_probes_on_balanced_draws(scenes):
    train, test = scenes, datasets.load("scenes", "test", limit=50)
    z = train.float_images().flatten(1)[:, ::50], test.float_images().flatten(1)[:, ::50]
    table = label_efficiency(z, train, test, per_class=(1, 3), seeds=3)
    assert table.columns.tolist() == ["per_class", "accuracy", "low", "high", "seeds", "n"]
    assert table["per_class"].tolist() == [1, 3] and set(table["seeds"]) == {3} and set(table["n"]) == {50}
    expected = []
    for seed in range(3):
        few = datasets.balanced_indices(train.labels, 3, 10, seed)
        expected.append(linear_probe(z[0][few], train.labels[few], z[1], test.labels).accuracy)
    assert table["accuracy"][1] == pytest.approx(np.mean(expected))
    assert (table["low"][1], table["high"][1]) == pytest.approx(mean_interval(expected))


def test_label_efficiency_takes_an_encoder_or_its_features(encoder, scenes):
    before = state_of(encoder)
    by_encoder = label_efficiency(encoder, scenes, scenes, per_class=(2,), seeds=2)
    z = features(encoder, scenes)
    assert by_encoder.equals(label_efficiency((z, z), scenes, scenes, per_class=(2,), seeds=2))
    assert same_state(before, encoder.state_dict())


def test_fine_tuning_trains_a_copy(encoder, scenes):
    encoder.requires_grad_(False)
    before, modes = state_of(encoder), modes_of(encoder)
    history = fine_tune(encoder, scenes, scenes[:10], epochs=2, batch_size=20, lr=0.05)
    assert same_state(before, encoder.state_dict()) and modes == modes_of(encoder)
    assert not any(p.requires_grad for p in encoder.parameters())
    assert len(history.loss) == 2 and all(0 <= a <= 1 for a in history.column("accuracy"))


def test_fine_tuning_repeats_and_leaves_the_callers_random_numbers_alone(encoder, scenes):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = fine_tune(encoder, scenes, scenes, epochs=1, batch_size=20, seed=1)
    assert torch.equal(torch.rand(3), expected)
    again = fine_tune(encoder, scenes, scenes, epochs=1, batch_size=20, seed=1)
    assert first.loss == again.loss and first.column("accuracy") == again.column("accuracy")


# --- intervals ------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("hits", "n"), [(0, 10), (1, 7), (50, 100), (9_000, 10_000), (10, 10)])
def test_wilson_interval_equals_scipy(hits, n):
    low, high = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits / n, n) == pytest.approx((low, high), abs=1e-4)  # 1.96 for 1.95996


def test_wilson_interval_stays_in_the_unit_interval():
    for n in (1, 2, 3, 10, 97, 10_000):
        assert 0 <= wilson_interval(0.0, n)[0] < wilson_interval(0.0, n)[1] < 1
        assert 0 < wilson_interval(1.0, n)[0] < wilson_interval(1.0, n)[1] <= 1
    for accuracy, n in ((0.5, 0), (1.2, 10), (-0.1, 10), (math.nan, 10)):
        with pytest.raises(ValueError, match="accuracy"):
            wilson_interval(accuracy, n)


def test_mean_interval_equals_scipy():
    values = [0.61, 0.64, 0.58, 0.66]
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected, rel=1e-6)
    assert all(math.isnan(end) for end in mean_interval([0.5]))


def test_the_mean_interval_of_an_accuracy_stays_between_0_and_1():
    low, high = mean_interval([0.99, 1.0, 0.9], 0, 1)
    assert high == 1 and low == pytest.approx(mean_interval([0.99, 1.0, 0.9])[0]) and low < 0.9
    assert mean_interval([0.0, 0.1], 0, 1)[0] == 0 and mean_interval([0.0, 0.1])[0] < 0


def test_finite_half_precision_features_whose_sum_overflows_are_accepted():
    bank = torch.full((100, 1000), 2.0, dtype=torch.float16)  # sums to 200,000, beyond float16's 65,504
    assert nearest_neighbors(bank[:1], bank, 1)[0].item() == pytest.approx(0, abs=1e-3)
