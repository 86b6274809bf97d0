"""Weights to begin with in notebook 03: random ones, those of a natural-image task, or a part of what these know."""

from __future__ import annotations

import torch
from torch import nn

from .. import checkpoints, datasets, encoders
from ..evaluation import features
from ..settings import Course
from .pretrain import head_accuracy, pretrain
from .runs import once

STARTS = ("random", "transfer", "first two blocks", "mean and variance")


def weights(course: Course, architecture: str, start: str, seed: int) -> nn.Module:
    """The encoder with these first weights; what is random in them is drawn by the seed. ValueError for another start.

    "transfer": all weights of `source`; "first two blocks": those alone, of a CBR; "mean and variance": random weights,
    normal, with the mean and the variance of each of the source's layers (Raghu et al. 2019, Section 5: Mean Var).
    """
    if start not in STARTS:
        raise ValueError(f"unknown start {start!r}; there are: {', '.join(STARTS)}")
    torch.manual_seed(seed)
    encoder = encoders.build(config(architecture))
    if start == "random":
        return encoder
    trained = source(course, architecture)
    if start == "transfer":
        return trained
    return mean_and_variance(encoder, trained) if start == "mean and variance" else first_blocks(encoder, trained, 2)


def config(architecture: str) -> dict:
    """What `encoders.build` needs; the large ResNets as torchvision trained them."""
    return {"name": architecture} | ({"stem": "imagenet"} if architecture in ("resnet18", "resnet50") else {})


def source(course: Course, architecture: str) -> nn.Module:
    """The encoder with the weights of its natural-image task: CIFAR-10 for those trained here, ImageNet for others."""
    name = source_name(architecture)
    return source_checkpoint(course, name).encoder if name else encoders.pretrained(architecture)


def source_name(architecture: str) -> str | None:
    """The checkpoint of an architecture that was trained here on CIFAR-10, None for one with ImageNet weights."""
    if architecture.startswith("cbr_"):
        return f"{architecture}-cifar10"
    return "supervised-cifar10" if architecture == "resnet10" else None


def source_checkpoint(course: Course, name: str) -> checkpoints.Checkpoint:
    """The shipped checkpoint of this name, else the student's own, else a new one: some are too large to ship."""
    own = checkpoints.own(course.profile)
    for folder in (checkpoints.SHIPPED, own):
        if checkpoints.there(name, folder):
            return checkpoints.load(name, folder)
    print(f"training {name}, which does not ship with the course", flush=True)
    pretrain(course, *name.split("-"), folder=own)
    return checkpoints.load(name, own)


def made(course: Course, architecture: str, start: str) -> list | None:
    """What tells one set of source weights from another, for `once`: the date and the epochs of their training."""
    name = source_name(architecture)
    if start == "random" or name is None:
        return None
    card = source_checkpoint(course, name).card
    return [card["date"], card.get("epochs_run")]


def source_accuracy(course: Course, architecture: str) -> dict[str, float] | None:
    """The accuracy of the source's own classifier on CIFAR-10's test split; None where the source is ImageNet."""
    name = source_name(architecture)
    if name is None:
        return None
    checkpoint = source_checkpoint(course, name)

    def compute() -> dict[str, float]:
        cases = datasets.load("cifar10", "test", limit=100 if course.profile == "smoke" else None)
        encoder, head = checkpoint.encoder.to(course.device), checkpoint.head.to(course.device)
        return {"source accuracy": head_accuracy(head, features(encoder, cases), cases.labels), "n": len(cases)}

    return once(course, "transfusion", {"source": name, "made": made(course, architecture, "transfer")}, compute)


@torch.no_grad()
def mean_and_variance(encoder: nn.Module, trained: nn.Module) -> nn.Module:
    """`encoder` with convolutions drawn from normal distributions with the mean and variance of `trained`'s, by layer.

    BatchNorm keeps its random start: weight 1, bias 0. Nothing that the source has learned about patterns is left.
    """
    for layer, model in zip(encoder.modules(), trained.modules(), strict=True):
        if isinstance(layer, nn.Conv2d):
            layer.weight.normal_(model.weight.mean().item(), model.weight.std().item())
    return encoder


def first_blocks(encoder: nn.Module, trained: nn.Module, count: int) -> nn.Module:
    """`encoder` (a CBR) with the first `count` blocks of `trained`, BatchNorm's statistics included."""
    for i in range(1, count + 1):
        encoder.get_submodule(f"block{i}").load_state_dict(trained.get_submodule(f"block{i}").state_dict())
    return encoder
