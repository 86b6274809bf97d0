"""Notebook 06, Figure 8 of SimCLR: kind and size of the projection head, linear probes on h and on g(h)."""

from __future__ import annotations

from functools import partial

from torch import nn

from ..evaluation import features, linear_probe
from ..settings import Course
from .runs import Sets, load_sets, once, rows
from .simclr_runs import settings, train

TITLE = "Projection heads on 10,000 CIFAR-10 images: linear probes before and after the head"
HEADS = (("identity", None), *((kind, out_dim) for kind in ("linear", "mlp") for out_dim in (32, 128, 512)))


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Three seeds of no head and of heads with 128 outputs, one of the others; all with the same settings."""
    sets, fit = load_sets(course), settings(course)
    found = []
    for kind, out_dim in HEADS:
        seeds = course.pick(smoke=2, laptop=3, gpu=3) if out_dim in (None, 128) else 1
        run = {"kind": kind, "out_dim": out_dim, "fit": fit, "images": len(sets.train), "cases": len(sets.test)}
        runs = [once(course, "simclr-heads", run | {"seed": seed},
                     partial(before_and_after, course, sets, fit, kind, out_dim, seed)) for seed in range(seeds)]
        about = {"kind": kind, "dimension": out_dim or course.pick(smoke=256, laptop=256, gpu=512)}
        found += rows(about, runs, len(sets.test))
    return found, {**fit, "temperature": 0.2, "images": len(sets.train)}, sets.test.source


def before_and_after(course: Course, sets: Sets, fit: dict, kind: str, out_dim: int | None,
                     seed: int) -> dict[str, float]:
    """Test accuracy of linear probes on h and on g(h), after one run with this head."""
    method, accuracy = train(course, sets.train, fit, seed, kind=kind, out_dim=out_dim), {}
    for where, network in (("h", method.encoder), ("g(h)", nn.Sequential(method.encoder, method.head))):
        z, test_z = (features(network, data) for data in (sets.train, sets.test))
        accuracy[where] = linear_probe(z, sets.train.labels, test_z, sets.test.labels).accuracy
    return accuracy
