"""The chart that grows from notebook to notebook: every f(x) of the course on CIFAR-10, by three measures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .. import checkpoints, datasets, encoders
from ..evaluation import PROBE_L2, features, knn_accuracy, label_efficiency, linear_probe, wilson_interval
from ..settings import Course

TITLE = "Every f(x) so far on CIFAR-10: kNN, linear probe, and 10 labels per class"


def representations(course: Course) -> dict[str, tuple[int, Callable[[datasets.ImageSet], Tensor]]]:
    """Name → (the notebook it belongs to, its function from an ImageSet to features [N, D])."""
    found = {"pixels": (1, lambda data: data.float_images().flatten(1)),
             "random network": (2, _encoder(_random(0), course)),
             "supervised (small, CIFAR-10)": (2, _shipped("supervised-cifar10", course)),
             "supervised (ImageNet)": (2, _encoder(encoders.pretrained("efficientnet_lite0"), course, size=96))}
    for notebook, method in ((4, "rotation"), (5, "triplet"), (6, "simclr"), (7, "moco")):
        found[method] = notebook, _shipped(f"{method}-cifar10", course)
    return {name: (notebook, f) for name, (notebook, f) in found.items() if f is not None}


def run(course: Course) -> tuple[list[dict], dict, str]:
    """kNN (k 20, τ 0.07) and linear probe with a 20,000-image bank; few labels over five draws; all on test."""
    bank = datasets.load("cifar10", "train", limit=course.pick(smoke=500, laptop=20_000, gpu=20_000))
    test = datasets.load("cifar10", "test", limit=course.pick(smoke=200, laptop=None, gpu=None))
    rows = []
    for name, (notebook, f) in representations(course).items():
        bank_z, test_z = f(bank), f(test)
        about = {"notebook": notebook, "feature": name, "n": len(test), "bank": len(bank)}
        knn = knn_accuracy(bank_z, bank.labels, test_z, test.labels)
        low, high = wilson_interval(knn, len(test))
        rows.append({**about, "metric": "kNN", "value": knn, "low": low, "high": high, "seeds": 1})
        probe = linear_probe(bank_z, bank.labels, test_z, test.labels)
        low, high = probe.interval
        rows.append({**about, "metric": "linear probe", "value": probe.accuracy, "low": low, "high": high, "seeds": 1})
        few = label_efficiency((bank_z, test_z), bank, test, per_class=(10,), seeds=5).iloc[0]
        rows.append({**about, "metric": "10 labels per class", "value": few["accuracy"], "low": few["low"],
                     "high": few["high"], "seeds": 5})
        print(f"{name}: kNN {knn:.3f}, linear {probe.accuracy:.3f}, ten labels {few['accuracy']:.3f}", flush=True)
    return rows, {"k": 20, "temperature": 0.07, "probe_l2": PROBE_L2}, test.source


def _random(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return encoders.resnet10("fast")


def _encoder(encoder: torch.nn.Module, course: Course,
             size: int | None = None) -> Callable[[datasets.ImageSet], Tensor]:
    encoder = encoder.to(course.device)
    return lambda data: features(encoder, data, size=size).cpu()


def _shipped(name: str, course: Course) -> Callable[[datasets.ImageSet], Tensor] | None:
    if not (checkpoints.SHIPPED / f"{name}.safetensors").exists():
        return None
    return _encoder(checkpoints.load(name, checkpoints.SHIPPED).encoder, course)
