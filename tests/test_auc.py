"""AUC against scikit-learn's, and its interval against the standard error it is made of and against simulation."""

import math
import re

import numpy as np
import pytest
import torch
from scipy.stats import norm, rankdata
from sklearn.metrics import precision_score, roc_auc_score

from course_utils.auc import auc, auc_per_class, ranks, screening
from course_utils.evaluation import auc_interval


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("levels", [2, 5, 10**6])  # few levels: many ties
def test_equals_scikit_learns(seed, levels):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, 300)
    scores = (draw.normal(size=300) + 0.7 * labels) // (6 / levels)
    expected = roc_auc_score(labels, scores)
    for dtype in (torch.float32, torch.float64):
        assert auc(torch.tensor(scores, dtype=dtype), torch.tensor(labels)) == pytest.approx(expected, abs=1e-12)


def test_constant_scores_say_nothing():
    labels = torch.tensor([0, 1, 1, 0, 1])
    assert auc(torch.full((5,), 3.0), labels) == 0.5 == roc_auc_score(labels, torch.full((5,), 3.0))


def test_only_the_order_counts_and_the_other_way_round_is_the_rest():
    torch.manual_seed(0)
    scores, labels = torch.randn(100, dtype=torch.float64), torch.rand(100) < 0.2
    value = auc(scores, labels)
    assert value == auc(scores.exp(), labels) == auc(3 * scores - 100, labels.long()) == auc(scores, labels.double())
    assert value == pytest.approx(1 - auc(-scores, labels)) == pytest.approx(1 - auc(scores, ~labels))
    assert auc(torch.tensor([1, 2, 3, 9]), torch.tensor([0, 0, 1, 1])) == 1.0
    assert auc(torch.tensor([9, 8, 3, 1]), torch.tensor([0, 0, 1, 1])) == 0.0


def test_large_scores_that_float32_tells_apart_stay_apart():
    scores, labels = torch.tensor([16_777_216.0, 16_777_214.0]), torch.tensor([1, 0])
    assert auc(scores, labels) == 1.0


def test_ranks_are_scipys():
    values = torch.tensor([3.0, 1.0, 3.0, -2.0, 3.0, 1.0])
    assert ranks(values).tolist() == rankdata(values).tolist() == [5, 2.5, 5, 1, 5, 2.5]


@pytest.mark.parametrize("only", [0, 1])
def test_one_class_alone_is_a_clear_error(only):
    counts = f"there are {4 * only} of the one and {4 * (1 - only)} of the other"
    with pytest.raises(ValueError, match=counts):
        auc(torch.rand(4), torch.full((4,), only))


def test_wrong_input_is_named():
    scores, labels = torch.rand(4), torch.tensor([0, 1, 0, 1])
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="NaN or infinite"):
            auc(torch.tensor([0.0, 1.0, bad, 2.0]), labels)
    with pytest.raises(ValueError, match="0 or 1, got"):
        auc(scores, torch.tensor([0, 1, 2, 1]))
    with pytest.raises(ValueError, match=re.escape("squeeze(1)")):
        auc(scores, labels[:, None])  # MedMNIST's labels are [N, 1]
    with pytest.raises(ValueError, match="one score and one label"):
        auc(scores[:3], labels)


def test_each_class_of_a_multi_label_task():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, (200, 3)).astype(np.float32)
    scores = draw.normal(size=(200, 5)).round(1).astype(np.float32)
    labels = np.concatenate([labels, np.zeros((200, 1)), np.ones((200, 1))], axis=1).astype(np.float32)
    found = auc_per_class(torch.tensor(scores), torch.tensor(labels))
    assert found[:3] == pytest.approx(roc_auc_score(labels[:, :3], scores[:, :3], average=None), abs=1e-12)
    assert math.isnan(found[3]) and math.isnan(found[4])  # none has it, all have it: no comparison to make
    assert auc_per_class(torch.tensor(scores), torch.tensor(labels).long())[:3] == pytest.approx(found[:3])


def test_a_case_that_was_not_looked_at_is_left_out_of_that_class_alone():
    draw = np.random.default_rng(1)
    labels, scores = draw.integers(0, 2, (80, 2)).astype(np.float64), draw.normal(size=(80, 2))
    expected = [roc_auc_score(labels[20:, 0], scores[20:, 0]), roc_auc_score(labels[:, 1], scores[:, 1])]
    labels[:20, 0] = np.nan
    assert auc_per_class(torch.tensor(scores), torch.tensor(labels)) == pytest.approx(expected)


def test_multi_label_input_is_checked_too():
    with pytest.raises(ValueError, match=re.escape("scores and labels [N, L]")):
        auc_per_class(torch.rand(4), torch.zeros(4))
    with pytest.raises(ValueError, match="NaN or infinite"):
        auc_per_class(torch.full((4, 1), math.nan), torch.zeros(4, 1))


# --- the interval -----------------------------------------------------------------------------------------

def standard_error(theta, positives, negatives):
    """Hanley & McNeil 1982, Eq. 1, with the same number in both corrections (Newcombe 2006)."""
    q1, q2, mean = theta / (2 - theta), 2 * theta**2 / (1 + theta), (positives + negatives) / 2
    return math.sqrt((theta * (1 - theta) + (mean - 1) * (q1 - theta**2 + q2 - theta**2)) / (positives * negatives))


@pytest.mark.parametrize(("value", "positives", "negatives"), [(0.75, 60, 200), (0.95, 390, 234), (0.5, 20, 20)])
def test_both_ends_are_so_many_standard_errors_away(value, positives, negatives):
    low, high = auc_interval(value, positives, negatives)
    for end in (low, high):
        assert abs(value - end) == pytest.approx(1.96 * standard_error(end, positives, negatives), abs=1e-9)
    assert 0 < low < value < high < 1


def test_a_perfect_result_on_few_cases_is_not_certain():
    low, high = auc_interval(1.0, 10, 10)
    assert high == 1.0 and 0.6 < low < 0.9
    assert auc_interval(0.0, 10, 10) == (0.0, pytest.approx(1 - low))
    assert auc_interval(1.0, 1000, 1000)[0] > 0.99
    with pytest.raises(ValueError, match="cases of both kinds"):
        auc_interval(0.5, 0, 10)


@pytest.mark.parametrize(("positives", "negatives", "value"), [(30, 90, 0.8), (60, 60, 0.93)])
def test_it_covers_the_truth_about_95_times_in_100(positives, negatives, value):
    draw, covered = np.random.default_rng(0), 0
    shift = math.sqrt(2) * norm.ppf(value)  # two normal distributions with this AUC
    labels = torch.cat([torch.ones(positives), torch.zeros(negatives)])
    for _ in range(600):
        scores = torch.tensor(draw.normal(size=positives + negatives)) + shift * labels
        low, high = auc_interval(auc(scores, labels), positives, negatives)
        covered += low <= value <= high
    assert 0.92 < covered / 600 < 0.985


def test_screening_counts_among_a_hundred_people():
    scores = torch.cat([torch.arange(1, 11.0), torch.arange(-4, 6.0)])  # ten ill, ten healthy
    labels = torch.cat([torch.ones(10), torch.zeros(10)]).long()
    # At 3: 8 of 10 ill and 3 of 10 healthy are flagged. Of 100 people with 5 ill: 4 hits, 28.5 false alarms.
    assert screening(scores, labels, 3.0, 0.05) == pytest.approx((0.8, 0.7, 0.05 * 0.8 + 0.95 * 0.7, 4 / 32.5))
    flagged, precision = scores >= 3, precision_score(labels, scores >= 3)  # at the test set's own prevalence
    assert screening(scores, labels, 3.0, 0.5) == pytest.approx(
        (0.8, 0.7, (flagged == labels.bool()).float().mean().item(), precision))
    assert math.isnan(screening(scores, labels, 99.0, 0.05)[3])
    with pytest.raises(ValueError, match="one score and one label"):
        screening(scores, labels[:3], 0.0, 0.5)
