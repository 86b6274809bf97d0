"""95 % intervals: of a proportion, of a mean over runs, of a correlation."""

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


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % Student t-interval of the mean of at least two runs; for one run (nan, nan)."""
    if len(values) < 2:
        return math.nan, math.nan
    from scipy.stats import t

    x = torch.tensor(values, dtype=torch.float64)
    half = t.ppf(0.975, len(values) - 1) * x.std().item() / math.sqrt(len(values))
    return x.mean().item() - half, x.mean().item() + half


def correlation_interval(r: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of Pearson's correlation r over n independent pairs, by Fisher's transformation."""
    if n < 4 or not -1 <= r <= 1:
        raise ValueError(f"needs -1 <= r <= 1 and n >= 4, got r={r}, n={n}")
    centre, half = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, r))), z / math.sqrt(n - 3)
    return math.tanh(centre - half), math.tanh(centre + half)
