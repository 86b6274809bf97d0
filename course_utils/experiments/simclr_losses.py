"""Notebook 06, Table 4 of SimCLR: the same network and views under five losses, with and without semi-hard mining."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import losses
from ..settings import Course
from .runs import load_sets, rows
from .simclr_runs import attempt, settings

TITLE = "Five losses on 10,000 CIFAR-10 images: linear probe after the same short training"
MARGINS, TEMPERATURES, RATES = (0.25, 0.5, 1.0), (0.1, 0.2, 0.5), (0.15, 0.05)  # margins in cosine


def nt_logistic_semi_hard(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """NT-Logistic on one negative for each anchor: the nearest among those farther than the positive."""
    z = F.normalize(torch.cat([z1, z2]).float(), dim=1)  # [2B, D]
    image = torch.arange(len(z1), device=z.device).repeat(2)
    a, p, n, _ = losses.mine_triplets(z, image, "semi-hard", margin=4.0)  # no pair on the sphere is farther than 4
    positive, negative = (z[a] * z[p]).sum(1), (z[a] * z[n]).sum(1)  # [2B]
    return -F.logsigmoid(positive / temperature).mean() - F.logsigmoid(-negative / temperature).mean()


LOSSES = {"margin": losses.margin_triplet, "NT-Logistic": losses.nt_logistic,
          "margin (semi-hard)": partial(losses.margin_triplet, mining="semi-hard"),
          "NT-Logistic (semi-hard)": nt_logistic_semi_hard, "NT-Xent": losses.nt_xent}


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Margin or τ of each loss, then its learning rate, from short trials on val; then three seeds each, on test."""
    sets, fit, trial_fit = load_sets(course), settings(course), settings(course, share=3 / 8)
    seeds = range(course.pick(smoke=2, laptop=3, gpu=3))
    found, chosen = [], {}
    for name, loss in LOSSES.items():
        knob, values = ("margin", MARGINS) if "margin" in name else ("temperature", TEMPERATURES)
        values, rates = course.pick(smoke=(values[:2], RATES[:1]), laptop=(values, RATES), gpu=(values, RATES))

        def on_val(value: float, lr: float, name=name, loss=loss, knob=knob) -> float:
            result = attempt(course, "simclr-losses", {"loss": name, knob: value, "split": "val"}, sets.train, sets.val,
                             trial_fit | {"lr": lr}, 0, loss=partial(loss, **{knob: value}))
            return round(result["linear probe"], 4) if result else 0.0

        tried = {(value, rates[0]): on_val(value, rates[0]) for value in values}
        value, _ = max(tried, key=tried.get)
        tried |= {(value, lr): on_val(value, lr) for lr in rates}
        value, lr = max(tried, key=tried.get)
        chosen[name] = {f"{knob} {v}, lr {r}": accuracy for (v, r), accuracy in tried.items()}
        runs = [attempt(course, "simclr-losses", {"loss": name, knob: value, "split": "test"}, sets.train, sets.test,
                        fit | {"lr": lr}, seed, loss=partial(loss, **{knob: value})) for seed in seeds]
        found += rows({"loss": name, "setting": f"{knob} {value}", "lr": lr}, runs, len(sets.test))
    return found, {**fit, "lr": "chosen on val", "val_accuracy": chosen, "images": len(sets.train)}, sets.test.source
