"""Notebook 07: how far is a key of age a from the key that the present key encoder gives the same image?"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import training
from ..methods import MoCo
from ..precision import full_precision
from ..settings import Course
from .moco_momentum import MOMENTA
from .moco_runs import DEFAULT, budget, build, choose_rate
from .runs import Sets, load_sets, once, rows

TITLE = "Age of keys: cosine between an old key of an image and its present one, MoCo on 10,000 CIFAR-10 images"
FOUND = "found among present keys"
COSINES = ("cosine to the present key", "cosine to other images' keys")


def run(course: Course) -> tuple[list[dict], dict, str]:
    """The runs of the momentum sweep once more, watched for some hundred steps after the first, at a high rate."""
    sets, size = load_sets(course), budget(course)
    lr, _ = choose_rate(course, sets)
    watch = course.pick(smoke=dict(start=2, ages=(0, 1, 2, 4)),
                        laptop=dict(start=128, ages=(0, 1, 2, 4, 8, 16, 32, 64, 128, 256)),
                        gpu=dict(start=128, ages=(0, 1, 2, 4, 8, 16, 32, 64, 128, 256)))
    watch |= {"epochs": size["epochs"], "batch_size": size["batch_size"], "lr": lr, "images": len(sets.train)}
    found = []
    for m in MOMENTA:
        runs = []
        for seed in range(size["seeds"]):
            settings = {**DEFAULT, **watch, "momentum": m, "seed": seed, "keys": "float32, compared in float64"}
            runs.append(once(course, "moco-staleness", settings, partial(_watch, settings, sets, course)))
        print(m, runs[0], flush=True)
        for i, age in enumerate(watch["ages"]):
            at_age = [{quantity: values[i] for quantity, values in run.items()} for run in runs]
            about, n = {"momentum": m, "age": age}, min(128, len(sets.val))
            found += rows(about, at_age, n, [FOUND]) + rows(about, at_age, n, COSINES, accuracies=False)
    return found, {**watch, "queue_length": DEFAULT["queue_length"]}, sets.val.source


def _watch(settings: dict, sets: Sets, course: Course) -> dict:
    """Train; after each step from `start` on, keep the keys of 128 unseen images, without augmentation."""
    method = build(settings, sets.train.images.shape[-1]).to(course.device)
    images, history, steps = sets.val[:128].float_images().to(course.device), [], [0]
    last = settings["start"] + max(settings["ages"])

    def after_step(method: MoCo, *_) -> None:
        steps[0] += 1
        if settings["start"] <= steps[0] <= last:
            # In the three digits of bfloat16 two images of a tight cloud may have the same key.
            with full_precision(images):
                history.append(method.keys(images).cpu())  # BatchNorm: always the same batch, so only weights differ

    method.register_forward_hook(after_step)
    training.fit(method, sets.train, epochs=settings["epochs"], batch_size=settings["batch_size"], lr=settings["lr"],
                 warmup_epochs=1 if settings["epochs"] > 1 else 0, seed=settings["seed"])
    found = [compare(torch.stack(history), age) for age in settings["ages"]]
    return {quantity: [row[quantity] for row in found] for quantity in (*COSINES, FOUND)}


def compare(history: Tensor, age: int) -> dict[str, float]:
    """Keys of `age` steps ago against those of the present, over all presents; history: unit vectors [T, P, D]."""
    if len(history) <= age:
        raise ValueError(f"keys of {len(history)} steps hold none of age {age}: train longer, or ask for younger ones")
    history = F.normalize(history.double(), dim=2)  # in float32 the cosines of a tight cloud are all 1
    old, new = history[:len(history) - age], history[age:]
    cosine = old @ new.transpose(1, 2)  # [T - age, P, P]: image of the old key, image of the present one
    own = cosine.diagonal(dim1=1, dim2=2)  # [T - age, P]
    p = cosine.shape[1]
    others = (cosine.sum((1, 2)) - own.sum(1)) / (p * (p - 1))
    right = cosine.argmax(2) == torch.arange(p)
    return dict(zip((*COSINES, FOUND), (own.mean().item(), others.mean().item(), right.float().mean().item()),
                    strict=True))
