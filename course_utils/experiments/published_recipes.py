"""Notebooks 06 and 07: the published CIFAR-10 recipes of SimCLR and MoCo, run by the course's code (gpu profile)."""

from __future__ import annotations

from .. import checkpoints, datasets
from ..evaluation import features, knn_accuracy, linear_probe, wilson_interval
from ..settings import Course
from .pretrain import pretrain

TITLE = "Published recipes of SimCLR and MoCo on CIFAR-10, ResNet-18: kNN and linear probe"
NEIGHBOURS = {"kNN": (20, 0.07), "kNN, k 200": (200, 0.1)}  # the course's own k and τ; those of MoCo's notebook


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Each method's own checkpoint of this profile, trained if it is not there; one seed, bank: all training images."""
    bank, test = (datasets.load("cifar10", split, limit=course.pick(smoke=200, laptop=None, gpu=None))
                  for split in ("train", "test"))
    folder, rows, settings = checkpoints.own(course.profile), [], {"neighbours": NEIGHBOURS}
    for method in ("simclr", "moco"):
        name = f"{method}-cifar10"
        if not checkpoints.there(name, folder) or checkpoints.load(name, folder).card["profile"] != course.profile:
            pretrain(course, method, "cifar10", folder=folder)
        trained = checkpoints.load(name, folder)
        card, encoder = trained.card, trained.encoder.to(course.device)
        bank_z, test_z = features(encoder, bank), features(encoder, test)
        probe = linear_probe(bank_z, bank.labels, test_z, test.labels)
        found = {metric: knn_accuracy(bank_z, bank.labels, test_z, test.labels, k, temperature)
                 for metric, (k, temperature) in NEIGHBOURS.items()} | {"linear probe": probe.accuracy}
        for metric, value in found.items():
            low, high = wilson_interval(value, len(test))
            rows.append({"method": method, "metric": metric, "epochs": card["epochs_run"], "bank": len(bank),
                         "value": value, "low": low, "high": high, "n": len(test), "seeds": 1})
        settings[method] = {key: card[key] for key in ("config", "images", "minutes", "precision", "machine")}
        print(f"{method}: {found}", flush=True)
    return rows, settings, test.source
