"""Notebook 07, back to notebook 03: SimCLR on retina photographs without labels, then few labels; against transfer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn

from .. import augment, checkpoints, datasets, encoders, methods, training
from ..datasets import fundus
from ..evaluation import auc, features, linear_probe
from ..settings import Course
from . import transfusion_starts as starts
from .pretrain import contrastive_views
from .runs import Sets, once
from .transfusion_runs import draw, load_task, with_sd

TITLE = "Few labels on retina photographs made by code, frozen features: SimCLR, transfer, random weights"
PLAIN = {"random weights": ("resnet10", "random"), "CIFAR-10, labels": ("resnet10", "transfer"),
         "ImageNet, labels": ("efficientnet_lite0", "transfer")}  # (architecture, its first weights)
SSL = {  # no label anywhere: the first weights, and what the views of SimCLR on eyes are cut from
    "SimCLR on eyes": ("random", "eyes"), "SimCLR on patches": ("random", "patches"),
    "SimCLR on CIFAR-10": ("simclr-cifar10", None), "SimCLR on CIFAR-10, then eyes": ("simclr-cifar10", "eyes"),
    "SimCLR on CIFAR-10, then patches": ("simclr-cifar10", "patches")}
FIT = dict(batch_size=256, lr=0.1, weight_decay=5e-4)  # one setting for all four trainings, and temperature 0.1


def run(course: Course) -> tuple[list[dict], dict, str]:
    """A linear probe on each frozen encoder with 2, 10 and 100 % of the labels; three draws of the labels."""
    size, seeds = course.pick(smoke=32, laptop=64, gpu=128), range(course.pick(smoke=2, laptop=3, gpu=3))
    sets, found, losses = load_task(course, "retina", size), [], {}
    for start in (*PLAIN, *SSL):
        if start in SSL:
            architecture, (path, losses[start]) = "resnet10", simclr(course, start, size)
            make, made = partial(encoder_of, path), checkpoints.digest(path.read_bytes())
        else:
            architecture, weights = PLAIN[start]
            make, made = partial(starts.weights, course, architecture, weights), starts.made(course, *PLAIN[start])
        for share in course.pick(smoke=(1.0,), laptop=(0.02, 0.1, 1.0), gpu=(0.02, 0.1, 1.0)):
            labels = round(share * len(sets.train))
            values = [probe(course, sets, [start, made], labels, seed, make)
                      for seed in (seeds if labels < len(sets.train) or start == "random weights" else seeds[:1])]
            about = {"start": start, "architecture": architecture, "size": size, "labels": labels}
            found += with_sd(about, "AUC", values, len(sets.test))
            print(about, [round(value, 4) for value in values], flush=True)
    settings = {"unlabelled": unlabelled_eyes(course), "temperature": 0.1, **FIT, "loss_by_epoch": losses}
    return found, settings, sets.test.source


def simclr(course: Course, start: str, size: int) -> tuple[Path, list[float]]:
    """The weights after SimCLR on unlabelled eyes, trained now where they are not there, and the loss of each epoch."""
    first, kind = SSL[start]
    if kind is None:
        return checkpoints.SHIPPED / f"{first}.safetensors", []
    folder = checkpoints.DATA / "runs" / "fundus-ssl" / course.profile
    name = f"{first}-{kind}"
    if first != "random":  # after other first weights, other weights
        came = checkpoints.digest((checkpoints.SHIPPED / f"{first}.safetensors").read_bytes())
        name = f"{first}-{came[:8]}-{kind}"
    if not checkpoints.there(name, folder):
        torch.manual_seed(0)
        encoder = encoders.resnet10("fast")
        head = encoders.projection_head(encoder.feature_dim, 128)
        if first != "random":
            trained = checkpoints.load(first)
            encoder, head = trained.encoder.requires_grad_(True), trained.head.requires_grad_(True)
        data = unlabelled(course, kind, size)
        method = methods.SimCLR(encoder, augment=views(kind, data.images.shape[-1]), head=head, temperature=0.1)
        epochs = course.pick(smoke=1, laptop=8, gpu=50) // (2 if kind == "patches" else 1) or 1  # two patches of an eye
        state = folder / f"{name}.pt"
        history = training.fit(method.to(course.device), data, epochs=epochs, checkpoint=state, **FIT,
                               warmup_epochs=course.pick(smoke=0, laptop=1, gpu=1))
        checkpoints.save(method, name, {"dataset": "fundus", "source": data.source, "images": len(data),
                                        "losses": [round(loss, 3) for loss in history.column("loss")],
                                        "profile": course.profile, "minutes": round(history.minutes, 1)}, folder)
        state.unlink(missing_ok=True)  # another process may have finished the same run
    return folder / f"{name}.safetensors", checkpoints.load(name, folder).card["losses"]


def unlabelled_eyes(course: Course) -> int:
    return course.pick(smoke=64, laptop=8_000, gpu=50_000)


def unlabelled(course: Course, kind: str, size: int) -> datasets.ImageSet:
    """Eyes of another seed than those with labels; "patches": two squares of half the side from each, without classes.

    In a patch a lesion is one of the largest things. In an eye it is one of the smallest.
    """
    eyes = fundus.generate("train", n=unlabelled_eyes(course), size=size, seed=1)
    if kind == "eyes":
        return eyes
    generator, side, edge = torch.Generator().manual_seed(0), size // 2, size // 10  # the edge of the disc is black
    corners = torch.randint(edge, size - side - edge + 1, (2 * len(eyes), 2), generator=generator).tolist()
    patches = torch.stack([eyes.images[i // 2, :, top:top + side, left:left + side]
                           for i, (top, left) in enumerate(corners)])
    return datasets.ImageSet(patches, torch.zeros(len(patches), dtype=torch.int64), ("patch",), "fundus", eyes.source)


def views(kind: str, size: int) -> nn.Module:
    """"eyes": crops as for CIFAR-10, a fifth or more; "patches": half or more of the patch, turned and mirrored."""
    if kind == "eyes":
        return contrastive_views(size)
    return nn.Sequential(augment.RandomResizedCrop(size, scale=(0.5, 1.0)), augment.RandomHorizontalFlip(),
                         augment.RandomRotation90(), augment.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
                         augment.RandomGrayscale(0.2))


def encoder_of(path: Path, _: int) -> nn.Module:
    return checkpoints.load(path.stem, path.parent).encoder


def probe(course: Course, sets: Sets, version: list, labels: int, seed: int, make: Callable[[int], nn.Module]) -> float:
    """Test AUC of a linear probe on the frozen features of so many labelled images. Done once for each version.

    version: tells one `make`, the encoder with the first weights of a seed, from another.
    """
    def compute() -> float:
        encoder, few = make(seed).to(course.device), draw(sets.train, labels, seed)
        z, cases_z = features(encoder, few), features(encoder, sets.test)
        scores = linear_probe(z, few.labels, cases_z, sets.test.labels).scores(cases_z)
        return auc((scores[:, 1] - scores[:, 0]).cpu(), sets.test.labels)

    run = {"version": version, "labels": labels, "seed": seed, "cases": len(sets.test)}
    return once(course, "fundus-ssl", run, compute)
