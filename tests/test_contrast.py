"""Entropy, contrastive accuracy, alignment and uniformity against closed forms and loops from the papers."""

import math

import pytest
import torch
from torch.nn import functional as F

from course_utils.evaluation import alignment, contrastive_statistics, uniformity


def test_collapsed_views_have_the_largest_entropy_and_find_nothing():
    z = torch.ones(8, 5)
    assert contrastive_statistics(z, z, 0.1) == (pytest.approx(math.log(15), abs=1e-5), 0.0)


def test_equal_views_among_orthogonal_ones_have_the_closed_form():
    z, tau = torch.eye(6), 0.5  # one candidate at cosine 1, ten at cosine 0
    top = math.exp(1 / tau) / (math.exp(1 / tau) + 10)
    rest = (1 - top) / 10
    entropy, accuracy = contrastive_statistics(z, z, tau)
    assert entropy == pytest.approx(-top * math.log(top) - 10 * rest * math.log(rest), abs=1e-5) and accuracy == 1.0


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("chunk", [3, 1024])
def test_equals_a_loop_over_views(normalize, chunk):
    g = torch.Generator().manual_seed(0)
    z1 = torch.randn(7, 4, generator=g)
    z2 = z1 + torch.randn(7, 4, generator=g)
    z = torch.cat([z1, z2]).double()
    u = F.normalize(z) if normalize else z
    entropies, hits = [], 0
    for i in range(14):
        others = [j for j in range(14) if j != i]
        p = torch.tensor([math.exp(float(u[i] @ u[j]) / 0.4) for j in others], dtype=torch.float64)
        p /= p.sum()
        entropies.append(-(p * p.log()).sum().item())
        hits += others[int(p.argmax())] == (i + 7) % 14
    entropy, accuracy = contrastive_statistics(z1, z2, 0.4, normalize, chunk=chunk)
    assert entropy == pytest.approx(sum(entropies) / 14, abs=1e-4) and accuracy == pytest.approx(hits / 14)


def test_normalized_statistics_do_not_see_lengths_and_small_temperatures_stay_finite():
    g = torch.Generator().manual_seed(1)
    z1, z2 = torch.randn(2, 9, 6, generator=g)
    assert contrastive_statistics(7 * z1, z2, 0.5) == pytest.approx(contrastive_statistics(z1, z2, 0.5))
    entropy, _ = contrastive_statistics(100 * z1, z2, 0.001, normalize=False)
    assert 0 <= entropy < 1e-3


@pytest.mark.parametrize("angle", [0, 60, 90, 180])
def test_alignment_is_the_chord_between_two_directions(angle):
    radians = math.radians(angle)
    z1 = torch.tensor([[3.0, 0.0]])
    z2 = torch.tensor([[math.cos(radians), math.sin(radians)]])
    chord = 2 * math.sin(radians / 2)
    assert alignment(z1, z2) == pytest.approx(chord**2, abs=1e-6)
    assert alignment(z1, z2, alpha=1) == pytest.approx(chord, abs=1e-6)


def test_uniformity_of_known_point_sets():
    assert uniformity(torch.ones(5, 3)) == pytest.approx(0, abs=1e-6)
    poles = torch.tensor([[0.0, 2.0], [0.0, -5.0]])
    assert uniformity(poles) == pytest.approx(-8) and uniformity(poles, t=1) == pytest.approx(-4)
    assert uniformity(torch.eye(10)) == pytest.approx(-4, abs=1e-5)  # all pairs at squared distance 2
    n = 12
    simplex = torch.eye(n) - 1 / n  # n corners of a simplex, all pairs at squared distance 2n / (n - 1)
    assert uniformity(simplex) == pytest.approx(-4 * n / (n - 1), abs=1e-5)


def test_uniformity_of_a_circle_is_the_bessel_function():
    z = torch.randn(3_000, 2, generator=torch.Generator().manual_seed(0))
    expected = math.log(torch.special.i0e(torch.tensor(4.0)).item())  # mean of exp(-4 (1 - cos)) over the circle
    assert uniformity(z) == pytest.approx(expected, abs=0.01)


def test_wrong_shapes_and_numbers_are_refused():
    z = torch.randn(4, 3)
    for ask in (lambda: contrastive_statistics(z, z[:3]), lambda: contrastive_statistics(z[:1], z[:1]),
                lambda: contrastive_statistics(z, z, 0.0), lambda: alignment(z, z[:, :2]),
                lambda: alignment(z[0], z[0]),
                lambda: uniformity(z[:1]), lambda: uniformity(z[0])):
        with pytest.raises(ValueError, match="needs|need"):
            ask()


def test_nothing_carries_a_gradient():
    z1, z2 = torch.randn(2, 4, 3, requires_grad=True)
    assert all(isinstance(value, float) for value in (*contrastive_statistics(z1, z2), alignment(z1, z2),
                                                      uniformity(z1)))
