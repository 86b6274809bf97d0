"""95 % intervals: of a proportion, of an AUC, of a mean over runs, of a correlation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


def wilson_interval(accuracy: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval (Wilson 1927) of a proportion that was measured on n independent cases."""
    if n < 1 or not 0 <= accuracy <= 1:
        raise ValueError(f"needs 0 <= accuracy <= 1 and n >= 1, got accuracy={accuracy}, n={n}")
    centre = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def auc_interval(auc: float, positives: int, negatives: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of an AUC that was measured on so many independent cases with label 1 and with label 0.

    All values θ with |auc - θ| <= z · standard error at θ, after Hanley & McNeil 1982, Eq. 1, with the mean of both
    counts in the correction: Newcombe 2006, method 5. Like Wilson's it stays in [0, 1] and has a width at 0 and at 1.
    """
    if positives < 1 or negatives < 1 or not 0 <= auc <= 1:
        raise ValueError(f"needs 0 <= auc <= 1 and cases of both kinds, got auc={auc}, {positives} and {negatives}")
    correction = (positives + negatives) / 2 - 1

    def excess(theta: float) -> float:
        spread = 1 + correction * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (auc - theta) ** 2 - z * z * theta * (1 - theta) * spread / (positives * negatives)

    def edge(outside: float) -> float:
        inside = auc
        for _ in range(60):
            middle = (outside + inside) / 2
            outside, inside = (middle, inside) if excess(middle) > 0 else (outside, middle)
        return inside

    return edge(0.0), edge(1.0)


def mean_interval(values: Sequence[float], lowest: float = -math.inf,
                  highest: float = math.inf) -> tuple[float, float]:
    """The 95 % Student t-interval of the mean of at least two runs; for one run (nan, nan).

    lowest, highest: what a mean can be, 0 and 1 for accuracies and AUCs; the interval is cut off there.
    """
    if len(values) < 2:
        return math.nan, math.nan
    from scipy.stats import t

    x = torch.tensor(values, dtype=torch.float64)
    half = t.ppf(0.975, len(values) - 1) * x.std().item() / math.sqrt(len(values))
    return max(lowest, x.mean().item() - half), min(highest, x.mean().item() + half)


def correlation_interval(r: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of Pearson's correlation r over n independent pairs, by Fisher's transformation."""
    if n < 4 or not -1 <= r <= 1:
        raise ValueError(f"needs -1 <= r <= 1 and n >= 4, got r={r}, n={n}")
    centre, half = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, r))), z / math.sqrt(n - 3)
    return math.tanh(centre - half), math.tanh(centre + half)
