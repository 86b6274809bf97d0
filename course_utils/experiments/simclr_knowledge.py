"""Notebook 06, Table 3 of SimCLR: what h still knows about an image's transformation, and g(h) does not."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from .. import augment, datasets
from ..evaluation import features, nonlinear_probe
from ..settings import Course
from .pretrain import contrastive_views
from .runs import Sets, load_sets, once, rows
from .simclr_runs import settings, train

TITLE = "What was done to this image? Non-linear probes on h and g(h), CIFAR-10"
# task: its extra step in the views (grey is in the standard ones already), share of the most common answer
TASKS = {"colour or grey": (None, 0.8), "rotation": (augment.RandomRotation90(), 0.25),
         "original or noisy": (augment.GaussianNoise((0.1, 0.1), p=0.5), 0.5),
         "original or Sobel": (augment.Sobel(p=0.5), 0.5)}


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Three seeds with the standard views; one each with a task's own step among them, as the paper trained."""
    sets, fit = load_sets(course), settings(course)
    found = []
    for extra in TASKS:
        seeds = range(course.pick(smoke=2, laptop=3, gpu=3) if extra == "colour or grey" else 1)
        tasks = tuple(TASKS) if extra == "colour or grey" else (extra,)  # standard views: all four tasks
        run = {"views with": extra, "tasks": tasks, "fit": fit, "images": len(sets.train), "cases": len(sets.test)}
        runs = [once(course, "simclr-knowledge", run | {"seed": seed},
                     partial(know, course, sets, fit, extra, tasks, seed)) for seed in seeds]
        for task in tasks:
            about = {"task": task, "among the views": task == extra, "random guess": TASKS[task][1]}
            found += rows(about, [known[task] for known in runs], len(sets.test))
    return found, {**fit, "temperature": 0.2, "out_dim": "that of h", "images": len(sets.train)}, sets.test.source


def know(course: Course, sets: Sets, fit: dict, extra: str, tasks: tuple[str, ...], seed: int) -> dict[str, dict]:
    """For each task, the test accuracy of the probes on h and on g(h), which has as many numbers as h."""
    step = TASKS[extra][0]
    views = contrastive_views(sets.train.images.shape[-1])
    method = train(course, sets.train, fit, seed, views=nn.Sequential(*views, *([step] if step else [])),
                   out_dim=course.pick(smoke=256, laptop=256, gpu=512))
    networks, known = {"h": method.encoder, "g(h)": nn.Sequential(method.encoder, method.head)}, {}
    for task in tasks:
        (images, answers), (test_images, test_answers) = (
            changed(data, task, seed=2 * seed + part) for part, data in enumerate((sets.train, sets.test)))
        known[task] = {where: nonlinear_probe(features(network, images), answers, features(network, test_images),
                                              test_answers).accuracy for where, network in networks.items()}
    return known


def changed(data: datasets.ImageSet, task: str, seed: int) -> tuple[Tensor, Tensor]:
    """Each image changed or left alone at random, uint8 [N, 3, H, W], and what was done, int64 [N]."""
    generator = torch.Generator().manual_seed(seed)
    n = len(data)
    pieces = []
    if task == "rotation":
        answers = torch.randint(4, (n,), generator=generator)
    else:
        answers = (torch.rand(n, generator=generator) < 1 - TASKS[task][1]).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the noise
        for images, answer in zip(data.images.split(512), answers.split(512), strict=True):
            x, mask = images.float() / 255, answer.bool()
            if task == "rotation":
                x = augment.rotate90(x, answer)
            elif task == "colour or grey":
                x = augment.to_grayscale(x, mask)
            else:
                other = augment.gaussian_noise(x, 0.1) if task == "original or noisy" else augment.sobel(x)
                x = torch.where(mask[:, None, None, None], other, x)
            pieces.append((255 * x).round().to(torch.uint8))
    return torch.cat(pieces), answers
