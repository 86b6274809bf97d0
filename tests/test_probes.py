"""The non-linear probe, stage features and the correlation interval against closed forms, SciPy and plain pooling."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from course_utils import encoders
from course_utils.evaluation import (
    correlation_interval,
    features,
    linear_probe,
    nearest_prototype,
    nonlinear_probe,
    wilson_interval,
)


def rings(n, seed):
    """Two classes that no line can part: inside a circle, and around it."""
    z = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    return z, (z.norm(dim=1) > 1.18).long()


def test_a_nonlinear_probe_learns_what_a_linear_one_cannot():
    train, test = rings(2_000, 0), rings(500, 1)
    assert linear_probe(*train, *test).accuracy < 0.65
    found = nonlinear_probe(*train, *test, epochs=20)
    assert found.accuracy > 0.93
    assert found.interval == wilson_interval(found.accuracy, 500)
    assert (found.predict(test[0]) == test[1]).float().mean().item() == pytest.approx(found.accuracy)


def test_it_repeats_by_its_seed_and_leaves_the_generator_alone():
    train, test = rings(300, 0), rings(100, 1)
    torch.manual_seed(3)
    first = nonlinear_probe(*train, *test, epochs=3)
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), after)
    again, other = nonlinear_probe(*train, *test, epochs=3), nonlinear_probe(*train, *test, epochs=3, seed=1)
    assert torch.equal(first.network[0].weight, again.network[0].weight)
    assert not torch.equal(first.network[0].weight, other.network[0].weight)


def test_its_network_is_rotnets_and_it_predicts_case_by_case():
    train, test = rings(300, 0), rings(100, 1)
    found = nonlinear_probe(*train, *test, epochs=2)
    assert [m.out_features for m in found.network if isinstance(m, torch.nn.Linear)] == [200, 200, 2]
    together, alone = found.predict(test[0]), torch.cat([found.predict(z[None]) for z in test[0]])
    assert torch.equal(together, alone)  # BatchNorm in eval mode


def test_scale_and_offset_of_a_feature_do_not_matter():
    train, test = rings(500, 0), rings(200, 1)
    scale, offset = torch.tensor([1e3, 1e-3]), torch.tensor([50.0, -7.0])
    plain = nonlinear_probe(*train, *test, epochs=3)
    moved = nonlinear_probe(train[0] * scale + offset, train[1], test[0] * scale + offset, test[1], epochs=3)
    assert (plain.predict(test[0]) == moved.predict(test[0] * scale + offset)).float().mean() > 0.98


def test_bad_features_and_labels_are_refused():
    z, y = rings(20, 0)
    with pytest.raises(ValueError, match="NaN or infinity"):
        nonlinear_probe(z / 0, y, z, y)
    with pytest.raises(ValueError, match="integer labels"):
        nonlinear_probe(z, y.float(), z, y)


@pytest.mark.parametrize("make", [lambda: encoders.resnet10(width=4), encoders.network_in_network])
def test_stage_features_are_pooled_to_a_grid(make):
    torch.manual_seed(0)
    encoder, images = make().eval(), torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        maps = encoder.stages(images)
    for stage, grid in (("stage1", 1), ("stage2", 4), ("stage3", 3)):
        z = features(encoder, images, stage=stage, grid=grid)
        torch.testing.assert_close(z, F.adaptive_avg_pool2d(maps[stage], grid).flatten(1))
    torch.testing.assert_close(features(encoder, images, stage="stage4"), features(encoder, images))


def test_network_in_network_is_rotnets():
    encoder = encoders.network_in_network()
    shapes = {name: tuple(m.weight.shape) for name, m in encoder.named_modules() if isinstance(m, torch.nn.Conv2d)}
    kernels = {block: [shape[2] for name, shape in shapes.items() if name.startswith(block)]
               for block in ("block1", "block2", "block3", "block4")}
    assert kernels == {"block1": [5, 1, 1], "block2": [5, 1, 1], "block3": [3, 1, 1], "block4": [3, 1, 1]}
    assert [shape[0] for shape in shapes.values()] == [192, 160, 96] + 9 * [192]
    maps = encoder.eval().stages(torch.rand(1, 3, 32, 32))
    assert [m.shape[-1] for m in maps.values()] == [32, 16, 8, 8]
    assert encoders.build(encoder.config)(torch.rand(2, 3, 32, 32)).shape == (2, encoder.feature_dim)


def test_the_correlation_interval_equals_scipys():
    generator = np.random.default_rng(0)
    x = generator.normal(size=12)
    y = 0.7 * x + generator.normal(size=12)
    oracle = stats.pearsonr(x, y)
    low, high = correlation_interval(oracle.statistic, 12)
    assert (low, high) == pytest.approx(tuple(oracle.confidence_interval(0.95)), abs=1e-4)
    assert correlation_interval(1.0, 10)[1] <= 1.0
    with pytest.raises(ValueError, match="n >= 4, got r=0.5, n=3"):
        correlation_interval(0.5, 3)


def test_prototypes_are_means_of_directions():
    z, y = torch.randn(60, 5), torch.arange(60) % 3
    cases = torch.randn(20, 5)
    unit = F.normalize(z) * torch.rand(60, 1).add(0.5)  # lengths must not matter
    found = nearest_prototype(unit, y, 7 * cases, 3)
    for case, choice in zip(cases, found, strict=True):
        cosines = [F.cosine_similarity(case, F.normalize(z)[y == c].mean(dim=0), dim=0) for c in range(3)]
        assert choice == torch.stack(cosines).argmax()
    with pytest.raises(ValueError, match="NaN"):
        nearest_prototype(z * torch.nan, y, cases, 3)
