"""What the MoCo tables of notebook 07 share: one training run, and the learning rate that all of them use.

Runs are kept on the disk (`runs.once`) and shared: m = 0.99 in the momentum sweep is K = 4096 in the queue sweep.
"""

from __future__ import annotations

import torch
from torch import nn

from .. import augment, datasets, encoders, methods, training
from ..batchnorm import StatisticsKept
from ..evaluation import features, knn_accuracy, linear_probe
from ..settings import Course
from .runs import Sets, once

RATES = (0.06, 0.15)  # one of them is chosen on val for the default method, and then used for its variants
DEFAULT = dict(method="moco", momentum=0.99, queue_length=4096, temperature=0.2, head="mlp", views="v2",
               schedule="cosine", split_bn=1, shuffle=True)
VIEWS = {"v1": augment.moco_v1_augment, "v2": augment.moco_v2_augment}
SCHEDULES = {"cosine": training.learning_rate, "step": training.step_decay}
FIRST_STEPS = 200  # whose loss is written down, step by step


def budget(course: Course) -> dict:
    """The length of every run: epochs and batch size, and the number of seeds."""
    return course.pick(smoke=dict(epochs=1, batch_size=32, seeds=2), laptop=dict(epochs=8, batch_size=128, seeds=3),
                       gpu=dict(epochs=12, batch_size=128, seeds=3))


def run_once(course: Course, sets: Sets, seed: int, lr: float, **variant) -> dict:
    """`measure_run` with the settings of DEFAULT, those in `variant` changed; read from the disk where it ran before.

    Unknown settings raise ValueError.
    """
    if unknown := set(variant) - set(DEFAULT):
        raise ValueError(f"unknown settings {sorted(unknown)}; there are: {', '.join(DEFAULT)}")
    size = budget(course)
    settings = {**DEFAULT, **variant, "lr": lr, "seed": seed, "epochs": size["epochs"],
                "batch_size": size["batch_size"], "images": len(sets.train)}
    found = once(course, "moco", settings, lambda: measure_run(course, sets, settings))
    print({**variant, "lr": lr, "seed": seed}, {key: found[key] for key in ("val linear", "linear probe", "kNN")},
          flush=True)
    return found


def measure_run(course: Course, sets: Sets, settings: dict) -> dict:
    """Train once; probes on val and test, loss of the first steps and of each epoch, contrastive accuracy on val."""
    method = build(settings, sets.train.images.shape[-1]).to(course.device)
    first = []
    hook = method.register_forward_hook(
        lambda _, inputs, loss: first.append(loss.detach()) if len(first) < FIRST_STEPS else None)
    epochs = settings["epochs"]
    history = training.fit(method, sets.train, epochs=epochs, batch_size=settings["batch_size"], lr=settings["lr"],
                           warmup_epochs=1 if epochs > 1 else 0, seed=settings["seed"],
                           schedule=SCHEDULES[settings["schedule"]])
    hook.remove()
    train_z, val_z, test_z = (features(method.encoder, data) for data in (sets.train, sets.val, sets.test))
    y, val_y, test_y = sets.train.labels, sets.val.labels, sets.test.labels
    found = {"val linear": linear_probe(train_z, y, val_z, val_y).accuracy,
             "linear probe": linear_probe(train_z, y, test_z, test_y).accuracy,
             "kNN": knn_accuracy(train_z, y, test_z, test_y),
             "first losses": [round(loss.item(), 4) for loss in first], "epoch losses": history.loss,
             "seconds": sum(history.column("seconds"))}
    return found | (pretext_accuracies(method, sets.val, settings["batch_size"]) if method.name == "moco" else {})


def build(settings: dict, size: int) -> nn.Module:
    """The method with the laptop encoder, its first weights drawn by the seed."""
    torch.manual_seed(settings["seed"])
    encoder = encoders.resnet10("fast")
    common = dict(augment=VIEWS[settings["views"]](size), temperature=settings["temperature"],
                  head=encoders.projection_head(encoder.feature_dim, 128, kind=settings["head"]))
    if settings["method"] == "simclr":
        return methods.SimCLR(encoder, **common)
    method = methods.MoCo(encoder, **common, queue_length=settings["queue_length"], momentum=settings["momentum"],
                          split_bn=settings["split_bn"])
    if not settings["shuffle"]:
        method.keys = lambda views: unshuffled_keys(method, views)
    return method


@torch.no_grad()
def unshuffled_keys(method: methods.MoCo, views: torch.Tensor) -> torch.Tensor:
    """What `MoCo.keys` would be without the shuffle: query and key of an image are normalised with the same others."""
    network = nn.Sequential(method.key_encoder, method.key_head)
    with StatisticsKept(network):
        return nn.functional.normalize(network(views).float(), dim=1)


@torch.no_grad()
def pretext_accuracies(method: methods.MoCo, cases: datasets.ImageSet, batch_size: int) -> dict[str, float]:
    """Share of queries that find their key among the queue's, with BatchNorm as in training and as in evaluation.

    Unseen images, two fixed random views each. A network that reads the batch's statistics does better in train mode.
    """
    device, found, batch_size = next(method.parameters()).device, {}, min(batch_size, len(cases))
    modes = {part: part.training for part in method.modules()}
    for name, training_mode in (("contrastive accuracy, train mode", True), ("contrastive accuracy, eval mode", False)):
        method.train(training_mode)
        hits = []
        with torch.random.fork_rng(devices=[]), StatisticsKept(method):
            torch.manual_seed(0)  # the same views in both modes
            for images in cases.float_images().split(batch_size):
                if len(images) == batch_size:
                    x1, x2 = (method.augment(images.to(device)) for _ in range(2))
                    keys, q = method.keys(x2), nn.functional.normalize(method.queries(x1).float(), dim=1)
                    hits.append((q * keys).sum(1) > (q @ method.queue.T).amax(1))
        found[name] = torch.cat(hits).float().mean().item()
    for part, mode in modes.items():
        part.training = mode
    return found


def choose_rate(course: Course, sets: Sets, **variant) -> tuple[float, dict]:
    """The rate at which this variant's linear probe does best on val, and what each rate reached."""
    found = {lr: round(run_once(course, sets, 0, lr, **variant)["val linear"], 4)
             for lr in course.pick(smoke=RATES[1:], laptop=RATES, gpu=RATES)}
    return max(found, key=found.get), found
