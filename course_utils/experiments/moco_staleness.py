"""Notebook 07: how far is a key of age a from the key that the present key encoder gives the same image?"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from .. import training
from ..methods import MoCo
from ..settings import Course
from .moco_momentum import MOMENTA
from .moco_runs import DEFAULT, RATES, build
from .runs import Sets, load_sets, once, rows

TITLE = "Age of keys: cosine between an old key of an image and its present one, MoCo on 10,000 CIFAR-10 images"
QUANTITIES = ("cosine to the present key", "found among present keys", "cosine to other images' keys")


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Three seeds of each m, watched for some hundred steps after the first epochs, when the rate is still high."""
    sets = load_sets(course)
    seeds = course.pick(smoke=2, laptop=3, gpu=3)
    watch = course.pick(smoke=dict(epochs=1, batch_size=32, start=2, ages=(0, 1, 2, 4)),
                        laptop=dict(epochs=5, batch_size=128, start=128, ages=(0, 1, 2, 4, 8, 16, 32, 64, 128, 256)),
                        gpu=dict(epochs=5, batch_size=128, start=128, ages=(0, 1, 2, 4, 8, 16, 32, 64, 128, 256)))
    found = []
    for m in MOMENTA:
        runs = []
        for seed in range(seeds):
            settings = {**DEFAULT, **watch, "momentum": m, "lr": RATES[-1], "seed": seed, "images": len(sets.train)}
            runs.append(once(course, "moco-staleness", settings, partial(_watch, settings, sets, course)))
        print(m, runs[0], flush=True)
        for i, age in enumerate(watch["ages"]):
            at_age = [{quantity: run[quantity][i] for quantity in QUANTITIES} for run in runs]
            found += rows({"momentum": m, "age": age}, at_age, min(128, len(sets.val)), accuracies=False)
    return found, {**watch, "lr": RATES[-1], "queue_length": 4096, "images": len(sets.train)}, sets.val.source


def _watch(settings: dict, sets: Sets, course: Course) -> dict:
    """Train; after each step from `start` on, keep the keys of 128 unseen images, without augmentation."""
    method = build(settings, sets.train.images.shape[-1]).to(course.device)
    images, history, steps = sets.val[:128].float_images().to(course.device), [], [0]
    last = settings["start"] + max(settings["ages"])

    def after_step(method: MoCo, *_) -> None:
        steps[0] += 1
        if settings["start"] <= steps[0] <= last:
            history.append(method.keys(images).cpu())  # BatchNorm: always the same batch, so only the weights differ

    method.register_forward_hook(after_step)
    training.fit(method, sets.train, epochs=settings["epochs"], batch_size=settings["batch_size"], lr=settings["lr"],
                 seed=settings["seed"])
    found = [compare(torch.stack(history), age) for age in settings["ages"]]
    return {quantity: [row[quantity] for row in found] for quantity in QUANTITIES}


def compare(history: Tensor, age: int) -> dict[str, float]:
    """Keys of `age` steps ago against those of the present, over all presents; history: unit vectors [T, P, D]."""
    if len(history) <= age:
        raise ValueError(f"keys of {len(history)} steps hold none of age {age}: train longer, or ask for younger ones")
    old, new = history[:len(history) - age], history[age:]
    cosine = old @ new.transpose(1, 2)  # [T - age, P, P]: image of the old key, image of the present one
    own = cosine.diagonal(dim1=1, dim2=2)  # [T - age, P]
    p = cosine.shape[1]
    others = (cosine.sum((1, 2)) - own.sum(1)) / (p * (p - 1))
    right = cosine.argmax(2) == torch.arange(p)
    return dict(zip(QUANTITIES, (own.mean().item(), right.float().mean().item(), others.mean().item()), strict=True))
