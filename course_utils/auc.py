"""AUC: the chance that a random ill case gets a higher score than a random healthy one, and how well it is known."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def auc(scores: Tensor, labels: Tensor) -> float:
    """The area under the ROC curve, in [0, 1]; a tie between an ill and a healthy case counts one half.

    scores: [N], higher means "more likely 1"; any real numbers, for only their order matters. labels: [N] of 0 and 1.
    By ranks, in N log N (Mann & Whitney 1947; Hanley & McNeil 1982, Section II). Raises ValueError for scores that are
    not finite, labels other than 0 and 1, shapes that disagree, and where one of the two classes has no case.
    """
    scores, positive = _checked(scores, labels)
    ill, healthy = int(positive.sum()), int((~positive).sum())
    if not ill or not healthy:
        raise ValueError(f"AUC compares cases labelled 1 with cases labelled 0, but there are {ill} of the one and "
                         f"{healthy} of the other; draw cases that have both")
    above = ranks(scores)[positive].sum().item() - ill * (ill + 1) / 2  # healthy cases below an ill one, ties half
    return above / (ill * healthy)


def ranks(values: Tensor) -> Tensor:
    """The rank, float64 [N], of each of the values [N], from 1; equal values share the mean of their ranks."""
    _, place, count = torch.unique(values, return_inverse=True, return_counts=True)  # sorted
    last = count.cumsum(0).double()  # the rank of the last of each group of equal values
    return (last - (count.double() - 1) / 2)[place]


def auc_per_class(scores: Tensor, labels: Tensor) -> list[float]:
    """`auc` of each column of a multi-label task, NaN for a class that no case has, or that every case has.

    scores: [N, L]; labels: [N, L] of 0 and 1, NaN where a case was not looked at for that class (it is left out of that
    class alone). Raises ValueError as `auc` does.
    """
    if scores.ndim != 2 or scores.shape != labels.shape:
        raise ValueError(f"needs scores and labels [N, L], got {list(scores.shape)} and {list(labels.shape)}")
    found = []
    for score, label in zip(scores.unbind(1), labels.to(scores.device).unbind(1), strict=True):
        known = ~torch.isnan(label) if label.is_floating_point() else torch.ones_like(label, dtype=torch.bool)
        both = len(label[known].unique()) == 2
        found.append(auc(score[known], label[known]) if both else math.nan)
        if not both:
            _checked(score, label[known].new_zeros(len(score)))  # scores that are no numbers are an error all the same
    return found


def screening(scores: Tensor, labels: Tensor, threshold: float,
              prevalence: float) -> tuple[float, float, float, float]:
    """Sensitivity, specificity, accuracy and precision of the test "score >= threshold" where `prevalence` are ill.

    scores: [N]; labels: [N] of 0 and 1, whose own share of ill cases does not matter; prevalence in [0, 1]. The
    precision is NaN where nobody is flagged. Raises ValueError as `auc` does.
    """
    scores, ill = _checked(scores, labels)
    flagged = scores >= threshold
    sensitivity, specificity = flagged[ill].double().mean().item(), (~flagged[~ill]).double().mean().item()
    hits, false_alarms = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
    precision = hits / (hits + false_alarms) if hits + false_alarms > 0 else math.nan
    return sensitivity, specificity, hits + (1 - prevalence) * specificity, precision


def _checked(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Scores float64 [N] and labels bool [N], or a ValueError that says what is wrong."""
    scores, labels = torch.as_tensor(scores), torch.as_tensor(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"needs one score and one label for each case, [N] each; got {list(scores.shape)} and "
                         f"{list(labels.shape)}. For labels [N, 1] use squeeze(1), for several classes auc_per_class")
    if not torch.isfinite(scores).all():
        raise ValueError("a score is NaN or infinite: has training diverged?")
    labels = labels.to(scores.device)
    if not bool(((labels == 0) | (labels == 1)).all()):
        raise ValueError(f"labels must be 0 or 1, got {labels.unique().tolist()[:5]}")
    return scores.detach().double(), labels == 1
