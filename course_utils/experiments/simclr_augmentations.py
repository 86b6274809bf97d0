"""Notebook 06, Figure 5 of SimCLR: views made by one operation or by two, and what features they teach."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from torch import nn

from .. import augment
from ..settings import Course
from .runs import Sets, load_sets, rows
from .simclr_runs import attempt, first_weights, probes, settings

TITLE = "Views of one or two operations on 10,000 CIFAR-10 images: linear probe"
OPERATIONS = {"crop": lambda size: [augment.RandomResizedCrop(size, scale=(0.2, 1.0)), augment.RandomHorizontalFlip()],
              "colour": lambda _: [augment.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8), augment.RandomGrayscale(0.2)],
              "rotation": lambda _: [augment.RandomRotation90()],
              "noise": lambda _: [augment.GaussianNoise((0.0, 0.2))]}
THREE_SEEDS = (("crop", "crop"), ("colour", "colour"), ("crop", "colour"))  # the comparison of the paper's Section 3.1


def run(course: Course) -> tuple[list[dict], dict, str]:
    """One run for each pair (both views by both operations, in the order of the list), three for crop and colour."""
    sets, fit = load_sets(course), settings(course)
    seeds, found, size = course.pick(smoke=2, laptop=3, gpu=3), [], sets.train.images.shape[-1]
    for first, second in itertools.combinations_with_replacement(OPERATIONS, 2):
        steps = [step for name in dict.fromkeys((first, second)) for step in OPERATIONS[name](size)]
        runs = [attempt(course, "simclr-augmentations", {"first": first, "second": second}, sets.train, sets.test, fit,
                        seed, views=nn.Sequential(*steps))
                for seed in range(seeds if (first, second) in THREE_SEEDS else 1)]
        found += rows({"first": first, "second": second}, runs, len(sets.test))
    found += rows({"first": "untrained", "second": "untrained"}, untrained(course, sets, range(seeds)), len(sets.test))
    return found, {**fit, "temperature": 0.2, "images": len(sets.train)}, sets.test.source


def untrained(course: Course, sets: Sets, seeds: Iterable[int]) -> list[dict[str, float]]:
    """`probes` of the weights that the runs start from: views that end below them did harm."""
    return [probes(first_weights(course, seed).to(course.device), sets.train, sets.test) for seed in seeds]
