"""Notebooks 03 and 07: SimCLR on retina photographs without labels, then few labels; against transfer and random."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import torch
from torch import nn

from .. import augment, checkpoints, encoders, methods, training
from ..datasets import fundus
from ..evaluation import auc, features, linear_probe
from ..settings import Course
from . import transfusion_starts as starts
from .pretrain import contrastive_views
from .runs import Sets, once
from .transfusion_runs import choose_rate, draw, load_task, measured, with_sd

TITLE = "Few labels on retina photographs made by code: SimCLR without labels, transfer and random weights"
PLAIN = {"ImageNet": ("efficientnet_lite0", "transfer"), "CIFAR-10, labels": ("resnet10", "transfer"),
         "random": ("resnet10", "random")}  # what SimCLR is compared with: (architecture, its first weights)
SIMCLR = "SimCLR on fundus"


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Each start, frozen under a linear probe and fine-tuned, with 2, 10 and 100 % of the labels; three draws."""
    size, seeds = course.pick(smoke=32, laptop=64, gpu=128), range(course.pick(smoke=2, laptop=3, gpu=3))
    sets = load_task(course, "retina", size)
    shares = course.pick(smoke={1.0: 1}, laptop={0.02: 40, 0.1: 20, 1.0: 8}, gpu={0.02: 80, 0.1: 40, 1.0: 20})
    kind, tried = choose_views(course, sets)
    source = simclr(course, kind, size)
    found, rates = [], {}
    for start in (SIMCLR, *PLAIN):
        architecture, weights = PLAIN.get(start, ("resnet10", SIMCLR))
        own = partial(encoder_of, source) if start == SIMCLR else None  # weights that `starts` does not know
        version = digest(source) if start == SIMCLR else None
        for share, epochs in shares.items():
            labels = round(share * len(sets.train))
            about = {"start": start, "architecture": architecture, "size": size, "labels": labels, "epoch": None}
            draws = seeds if labels < len(sets.train) or weights == "random" else seeds[:1]  # else nothing is drawn
            frozen = [probe(course, sets, own or partial(starts.weights, course, architecture, weights, seed), labels,
                            seed, "test", [architecture, weights, size, version]) for seed in draws]
            found += with_sd(about | {"way": "linear probe"}, "AUC", frozen, len(sets.test))
            if architecture != "resnet10":
                continue  # fine-tuned in transfusion-retina
            run = dict(architecture=architecture, start=weights, size=size, make=own, version=version)
            if start not in rates:
                rates[start] = choose_rate(course, "retina", sets, epochs=max(shares[1.0], 1), **run)
            tuned = measured(course, "retina", sets, len(seeds), curve=False, labels=labels, epochs=epochs,
                             lr=rates[start][0], **run)
            found += [row | about | {"way": "fine-tuned"} for row in tuned]
    settings = {"views": kind, "val_auc_by_views": tried, "unlabelled": unlabelled(course, size=16, count=True),
                "val_auc_by_lr": {start: tried for start, (_, tried) in rates.items()}}
    return found, settings, sets.test.source


def views(kind: str, size: int) -> nn.Module:
    """"crops": as for CIFAR-10, a fifth of the image or more; "turns": the whole eye, turned, mirrored, other light."""
    if kind == "crops":
        return contrastive_views(size)
    return nn.Sequential(augment.RandomResizedCrop(size, scale=(0.7, 1.0)), augment.RandomHorizontalFlip(),
                         augment.RandomRotation90(), augment.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8))


def choose_views(course: Course, sets: Sets) -> tuple[str, dict[str, float]]:
    """The kind of views after which a linear probe with a tenth of the labels does best on val, and both figures."""
    size, found = sets.train.images.shape[-1], {}
    for kind in ("crops", "turns"):
        path = simclr(course, kind, size)
        labels = max(40, len(sets.train) // 10)
        found[kind] = round(probe(course, sets, partial(encoder_of, path), labels, 0, "val", [kind, digest(path)]), 4)
    return max(found, key=found.get), found


def simclr(course: Course, kind: str, size: int) -> Path:
    """The weights of SimCLR on the unlabelled eyes, trained now where they are not there; resumes where cut off."""
    folder = checkpoints.DATA / "runs" / "fundus-ssl" / course.profile
    path = folder / f"simclr-fundus-{kind}.safetensors"
    if path.exists():
        return path
    data = unlabelled(course, size)
    torch.manual_seed(0)
    encoder = encoders.resnet10("fast")
    method = methods.SimCLR(encoder, augment=views(kind, size), temperature=0.2,
                            head=encoders.projection_head(encoder.feature_dim, 128)).to(course.device)
    state = folder / f"{kind}.pt"
    history = training.fit(method, data, epochs=course.pick(smoke=1, laptop=8, gpu=50), batch_size=128, lr=0.15,
                           warmup_epochs=course.pick(smoke=0, laptop=1, gpu=1), checkpoint=state)
    checkpoints.save(method, path.stem, {"dataset": "fundus", "source": data.source, "images": len(data),
                                         "views": kind, "epochs_run": len(history.rows), "profile": course.profile,
                                         "minutes": round(history.minutes, 1)}, folder)
    state.unlink()
    return path


def encoder_of(path: Path) -> nn.Module:
    return checkpoints.load(path.stem, path.parent).encoder


def digest(path: Path) -> str:
    """Tells one set of weights from another."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def unlabelled(course: Course, size: int, count: bool = False):
    """Eyes of another seed than those with labels; count: only how many."""
    n = course.pick(smoke=64, laptop=8_000, gpu=50_000)
    return n if count else fundus.generate("train", n=n, size=size, seed=1)


def probe(course: Course, sets: Sets, make, labels: int, seed: int, split: str, version: object) -> float:
    """AUC on a split of a linear probe on frozen features of so many labelled images. Done once."""
    def compute() -> float:
        encoder, few, cases = make().to(course.device), draw(sets.train, labels, seed), getattr(sets, split)
        z, cases_z = features(encoder, few), features(encoder, cases)
        fitted = linear_probe(z, few.labels, cases_z, cases.labels)
        scores = fitted.scores(cases_z)
        return auc((scores[:, 1] - scores[:, 0]).cpu(), cases.labels)

    run = {"probe": version, "labels": labels, "seed": seed, "split": split, "cases": len(getattr(sets, split))}
    return once(course, "fundus-ssl", run, compute)
