"""Notebook 06, Table 5 of SimCLR: ℓ2 norm and temperature, with entropy and contrastive accuracy."""

from __future__ import annotations

from functools import partial

import torch

from .. import datasets
from ..evaluation import alignment, contrastive_statistics, frozen, uniformity
from ..losses import nt_xent
from ..settings import Course
from .runs import load_sets, once, rows
from .simclr_runs import TwoViews, probes, settings, train

TITLE = "ℓ2 norm and temperature on 10,000 CIFAR-10 images: linear probe, entropy, contrastive accuracy"
VARIANTS = ((True, 0.05), (True, 0.1), (True, 0.5), (True, 1.0), (False, 10.0), (False, 100.0))
THREE_SEEDS = ((True, 0.1), (True, 1.0), (False, 10.0))  # those that carry the paper's argument
RATES = (0.05, 0.15, 0.5)  # the gradient of NT-Xent grows with 1 / τ, so each τ needs a rate of its own


def run(course: Course) -> tuple[list[dict], dict, str]:
    """For each variant the learning rate from short trials on val, then its seeds: probes on test, views of val."""
    sets, fit, trial_fit = load_sets(course), settings(course), settings(course, share=3 / 8)
    found, chosen = [], {}
    for normalize, temperature in VARIANTS:
        loss = partial(nt_xent, temperature=temperature, normalize=normalize)

        def measure(cases: datasets.ImageSet, fit: dict, seed: int, loss=loss) -> dict | None:
            def compute() -> dict | None:
                try:
                    method = train(course, sets.train, fit, seed, loss=loss)
                    return probes(method.encoder, sets.train, cases) | watch(method, sets.val, **loss.keywords)
                except FloatingPointError:
                    return None

            run = {**loss.keywords, "fit": fit, "seed": seed, "images": len(sets.train), "cases": len(cases)}
            return once(course, "simclr-temperature", run, compute)

        rates = course.pick(smoke=RATES[1:2], laptop=RATES, gpu=RATES)
        trials = {lr: measure(sets.val, trial_fit | {"lr": lr}, 0) for lr in rates}
        on_val = {lr: round(trial["linear probe"], 4) if trial else 0.0 for lr, trial in trials.items()}
        lr = max(on_val, key=on_val.get)
        chosen[f"norm {normalize}, temperature {temperature}"] = on_val
        seeds = course.pick(smoke=2, laptop=3, gpu=3) if (normalize, temperature) in THREE_SEEDS else 1
        runs = [measure(sets.test, fit | {"lr": lr}, seed) for seed in range(seeds)]
        about = {"normalize": normalize, "temperature": temperature, "lr": lr}
        views = 2 * min(2_048, len(sets.val))
        found += rows(about, runs, len(sets.test), ("linear probe", "kNN"))
        found += rows(about, runs, views, ("entropy", "contrastive accuracy", "alignment", "uniformity"),
                      accuracies=False)
    settings_ = {**fit, "lr": "chosen on val", "val_accuracy_by_lr": chosen, "images": len(sets.train)}
    return found, settings_, sets.test.source


def watch(method: TwoViews, val: datasets.ImageSet, temperature: float, normalize: bool) -> dict[str, float]:
    """Entropy (nats), contrastive accuracy, alignment, uniformity on two views of at most 2,048 val images each."""
    device = next(method.parameters()).device
    with torch.random.fork_rng(devices=[]), frozen(method):
        torch.manual_seed(0)
        z1, z2 = (torch.cat([method.head(method.encoder(method.augment(images.to(device).float() / 255))).float()
                             for images in val.images[:2_048].split(256)]) for _ in range(2))  # [N, D] each
    entropy, accuracy = contrastive_statistics(z1, z2, temperature, normalize)
    return {"entropy": entropy, "contrastive accuracy": accuracy, "alignment": alignment(z1, z2),
            "uniformity": uniformity(z1)}
