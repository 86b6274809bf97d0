"""Notebooks 06 and 07: the published CIFAR-10 recipes of SimCLR and MoCo, run by the course's code (gpu profile)."""

from __future__ import annotations

from pathlib import Path

from .. import checkpoints, datasets
from ..evaluation import features, knn_accuracy, linear_probe
from ..settings import Course
from .pretrain import RECIPES, build, pretrain, view_names
from .runs import rows

TITLE = "Published recipes of SimCLR and MoCo on CIFAR-10, ResNet-18: kNN and linear probe"
NEIGHBOURS = {"kNN": (20, 0.07), "kNN, k 200": (200, 0.1)}  # the course's own k and τ; those of MoCo's notebook


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Each method's own checkpoint, trained if none of this recipe is there; one seed, all training images as bank.

    Raises ValueError on the laptop profile, which has other recipes.
    """
    if course.profile == "laptop":
        raise ValueError("the published recipes are those of the gpu profile: set COURSE_PROFILE=gpu, where there is "
                         "a GPU. What the laptop's own recipes reach is in scoreboard-cifar10")
    bank, test = (datasets.load("cifar10", split, limit=200 if course.profile == "smoke" else None)
                  for split in ("train", "test"))
    folder, measured, settings = checkpoints.own(course.profile), [], {"neighbours": NEIGHBOURS}
    for method in ("simclr", "moco"):
        name = f"{method}-cifar10"
        if not _trained_so(course, method, bank, name, folder):
            pretrain(course, method, "cifar10", folder=folder)
        trained = checkpoints.load(name, folder)
        card, encoder = trained.card, trained.encoder.to(course.device)
        bank_z, test_z = features(encoder, bank), features(encoder, test)
        probe = linear_probe(bank_z, bank.labels, test_z, test.labels)
        found = {quantity: knn_accuracy(bank_z, bank.labels, test_z, test.labels, k, temperature)
                 for quantity, (k, temperature) in NEIGHBOURS.items()} | {"linear probe": probe.accuracy}
        measured += rows({"method": method, "epochs": card["epochs_run"], "bank": len(bank)}, [found], len(test))
        settings[method] = {key: card[key] for key in ("config", "views", "images", "minutes", "precision", "machine")}
        settings[method]["loss"] = card["history"][-1]["loss"]
        print(f"{method}: {found}", flush=True)
    return measured, settings, test.source


def _trained_so(course: Course, method: str, data: datasets.ImageSet, name: str, folder: Path) -> bool:
    """Whether `folder` holds a checkpoint of this very recipe: one of another rate or of other views is not."""
    if not checkpoints.there(name, folder):
        return False
    expected = {"profile": course.profile, "config": RECIPES[method, course.profile],
                "views": view_names(build(method, data, course.profile))}
    return checkpoints.load(name, folder).card.items() >= expected.items()
