"""The recipes behind the shipped checkpoints: `python -m course_utils pretrain METHOD DATASET`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from .. import augment, checkpoints, datasets, distributed, encoders, evaluation, methods, training
from ..settings import Course

CBRS = ("cbr_large_t", "cbr_large_w", "cbr_small", "cbr_tiny")  # with labels, as "supervised": sources of notebook 03
METHODS = ("supervised", "rotation", "triplet", "simclr", "moco", *CBRS)
RECIPES = {  # by (method, profile); supervised: chosen on the val split; the others after their source, not searched
    ("supervised", "smoke"): dict(epochs=1, batch_size=128, lr=0.1, weight_decay=5e-4),
    ("supervised", "laptop"): dict(epochs=40, batch_size=128, lr=0.1, weight_decay=5e-4, warmup_epochs=1),
    ("supervised", "gpu"): dict(epochs=200, batch_size=128, lr=0.1, weight_decay=5e-4, warmup_epochs=1),
    # RotNet's: 128 images, each in four rotations (Gidaris et al. 2018); 200 epochs on gpu, as in the authors' code
    ("rotation", "smoke"): dict(epochs=1, batch_size=64, lr=0.1, weight_decay=5e-4),
    ("rotation", "laptop"): dict(epochs=25, batch_size=128, lr=0.1, weight_decay=5e-4, warmup_epochs=1),
    ("rotation", "gpu"): dict(epochs=200, batch_size=128, lr=0.1, weight_decay=5e-4, warmup_epochs=1),
    ("triplet", "smoke"): dict(epochs=1, batch_size=64, lr=0.1, weight_decay=5e-4),
    ("triplet", "laptop"): dict(epochs=20, batch_size=256, lr=0.1, weight_decay=5e-4, warmup_epochs=1),
    ("triplet", "gpu"): dict(epochs=100, batch_size=512, lr=0.1, weight_decay=5e-4, warmup_epochs=1),
    # gpu: dkobak/simclr-cifar10, 100 epochs, at 0.06 · 512 / 256 for so few: kNN 83.2, linear 85.6 as published
    ("simclr", "smoke"): dict(epochs=1, batch_size=64, lr=0.1, weight_decay=5e-4),
    ("simclr", "laptop"): dict(epochs=100, batch_size=256, lr=0.3, weight_decay=5e-4, warmup_epochs=1),
    ("simclr", "gpu"): dict(epochs=100, batch_size=512, lr=0.12, weight_decay=5e-4),
    # gpu: the CIFAR notebook of MoCo's authors, 200 epochs: kNN 82.6 as published
    ("moco", "smoke"): dict(epochs=1, batch_size=64, lr=0.1, weight_decay=5e-4),
    ("moco", "laptop"): dict(epochs=60, batch_size=256, lr=0.15, weight_decay=5e-4, warmup_epochs=1),
    ("moco", "gpu"): dict(epochs=200, batch_size=512, lr=0.06, weight_decay=5e-4),
}
# Four epochs on a laptop, since LargeW takes more than four minutes for each on one core; all four alike.
RECIPES |= {(name, profile): dict(epochs=epochs, batch_size=128, lr=0.1, weight_decay=5e-4, warmup_epochs=warmup)
            for name in CBRS for profile, epochs, warmup in (("smoke", 1, 0), ("laptop", 4, 1), ("gpu", 30, 1))}
# On the eyes of `fundus` a rate of 0.1 learns nothing; this one is chosen on val in `transfusion-retina`.
OF_ONE_SET = {("cbr_tiny", "laptop", "fundus"): dict(epochs=12, batch_size=64, lr=0.06, weight_decay=1e-4,
                                                     warmup_epochs=1)}
SNAPSHOTS = {("simclr", "laptop"): (1, 5, 20, 50)}  # epochs that ship beside the last one, to be watched in notebook 06


def build(method: str, data: datasets.ImageSet, profile: str) -> nn.Module:
    """The method with its encoder for this profile (laptop: resnet10, fast stem; gpu: ResNet-18, CIFAR stem).

    On `scenes` the laptop's network is half as wide: the task is easier, and ten of them ship. "cbr_tiny" and its like
    are supervised training of that network, in every profile.
    """
    size = data.images.shape[-1]
    views = crop_and_flip(size)
    if method in CBRS:
        return methods.Supervised(encoders.build({"name": method}), len(data.classes), augment=views)
    if profile == "gpu":
        encoder = encoders.resnet18("cifar")
    else:
        encoder = encoders.resnet10("fast", width=16) if data.name == "scenes" else encoders.resnet10("fast")
    if method == "supervised":
        return methods.Supervised(encoder, len(data.classes), augment=views)
    if method == "rotation":
        return methods.RotationPrediction(encoder, augment=views)
    gpu = profile == "gpu"
    views = contrastive_views(size)
    if method == "triplet":
        head = encoders.projection_head(encoder.feature_dim, 128)
        return methods.TripletNetwork(encoder, augment=views, head=head, margin=0.5, mining="semi-hard")
    if method == "simclr":
        views = contrastive_views(size, grey=0.1) if gpu else views
        head = encoders.projection_head(encoder.feature_dim, 128, hidden_dim=1024 if gpu else None)
        return methods.SimCLR(encoder, augment=views, head=head, temperature=0.5 if gpu else 0.2)
    if method == "moco":
        views = contrastive_views(size, smallest=0.08) if gpu else views
        head = encoders.projection_head(encoder.feature_dim, 128, kind="linear" if gpu else "mlp")
        return methods.MoCo(encoder, augment=views, head=head, queue_length=4096, momentum=0.99,
                            temperature=0.1 if gpu else 0.2, split_bn=8 if gpu else 1)
    raise ValueError(f"unknown method {method!r}; there are: {', '.join(METHODS)}")


def crop_and_flip(size: int) -> nn.Sequential:
    """The usual mild augmentation for small images: a shift by up to an eighth of the side, and a mirror image."""
    return nn.Sequential(augment.RandomCrop(padding=size // 8), augment.RandomHorizontalFlip())


def contrastive_views(size: int, smallest: float = 0.2, grey: float = 0.2) -> nn.Sequential:
    """Views for 32 px, after the one-file SimCLR for CIFAR-10: crops of at least a fifth, jitter of strength 0.5.

    smallest: the least share of the image in a crop; MoCo's authors take 0.08 for CIFAR-10. grey: the probability that
    colour is dropped; the one-file SimCLR takes 0.1, MoCo's authors 0.2. Flip and jitter are the same in both.
    """
    return nn.Sequential(augment.RandomResizedCrop(size, scale=(smallest, 1.0)), augment.RandomHorizontalFlip(),
                         augment.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8), augment.RandomGrayscale(grey))


def view_names(method: nn.Module) -> list[str]:
    """The steps that make a view, with their settings, for a card."""
    return [str(step) for step in method.augment]


def pretrain(course: Course, method: str, dataset: str, *, seed: int = 0, epochs: int | None = None,
             minutes: float | None = None, folder: Path = checkpoints.OWN) -> Path:
    """Train `method` on `dataset`'s train split (val and test stay out), evaluate and save the last epoch.

    Under `torchrun` all processes train it together, and the first evaluates and writes.
    Resumes from data/runs/training/<method>-<dataset>-<profile>-<seed>.pt where a run was cut off.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; there are: {', '.join(METHODS)}")
    data = distributed.first_alone(
        lambda: datasets.load(dataset, "train", limit=256 if course.profile == "smoke" else None))
    recipe = dict(OF_ONE_SET.get((method, course.profile, dataset), RECIPES[method, course.profile]))
    recipe["epochs"] = recipe["epochs"] if epochs is None else epochs
    torch.manual_seed(seed)  # the encoder's first weights
    model = build(method, data, course.profile).to(course.device)
    name = f"{method}-{dataset}"
    for place in (folder, checkpoints.DATA / "runs" / "training"):
        if not datasets.storage.writable(place):  # said now, not after hours
            raise OSError(f"nothing can be written to {place}")
    state = checkpoints.DATA / "runs" / "training" / f"{name}-{course.profile}-{seed}.pt"
    about = {"dataset": dataset, "source": data.source, "images": len(data), "profile": course.profile,
             "config": recipe, "views": view_names(model), "seed": seed,
             "precision": str(course.precision).removeprefix("torch.")}
    if distributed.world() > 1:
        about["processes"] = distributed.world()
    watch = _watch(data, dataset, recipe["epochs"], course)

    def on_epoch(epoch: int, model: nn.Module) -> dict:
        snapshot = epoch in SNAPSHOTS.get((method, course.profile), ()) and epoch < recipe["epochs"]
        found = watch(epoch, model, always=snapshot)
        if snapshot:
            checkpoints.save(model, f"{name}@epoch{epoch:02d}", about | {"epochs_run": epoch, "metrics": found}, folder)
        return found

    history = training.fit(model, data, **recipe, seed=seed, checkpoint=state, max_minutes=minutes,
                           on_epoch=on_epoch)
    if distributed.rank():  # the first process evaluates and writes
        return folder / f"{name}.safetensors"
    card = about | {"epochs_run": len(history.rows), "minutes": round(history.minutes, 1),
            "history": [{key: round(value, 5) for key, value in row.items()} for row in history.rows],
            "metrics": measure(model.encoder, data, dataset, course)}
    path = checkpoints.save(model, name, card, folder)
    for epoch in SNAPSHOTS.get((method, course.profile), ()):  # how long they took is known to the history only
        if epoch <= len(history.rows) and epoch < recipe["epochs"]:
            minutes_then = sum(history.column("seconds")[:epoch]) / 60
            checkpoints.amend(f"{name}@epoch{epoch:02d}", folder, minutes=round(minutes_then, 1))
    state.unlink(missing_ok=True)
    return path


def _watch(data: datasets.ImageSet, dataset: str, epochs: int, course: Course):
    """An on_epoch for `fit`: about twelve times in a run, kNN (and rotation) accuracy on val, for the history."""
    bank = data[datasets.limited_indices(data.labels, min(5_000, len(data)), seed=0)]
    val = datasets.load(dataset, "val", limit=course.pick(smoke=100, laptop=2_000, gpu=2_000))

    def on_epoch(epoch: int, method: nn.Module, always: bool = False) -> dict:
        if epoch % max(1, epochs // 12) and epoch != epochs and not always:
            return {}
        bank_z, val_z = evaluation.features(method.encoder, bank), evaluation.features(method.encoder, val)
        found = {"val_knn": evaluation.knn_accuracy(bank_z, bank.labels, val_z, val.labels)}
        if isinstance(method, methods.RotationPrediction):
            turned = methods.all_rotations(val.images)
            turns = torch.arange(4).repeat_interleave(len(val))
            found["val_rotation"] = head_accuracy(method.head, evaluation.features(method.encoder, turned), turns)
        print(f"epoch {epoch}: {found}", flush=True)
        return found

    return on_epoch


def head_accuracy(head: nn.Module, z: Tensor, answers: Tensor) -> float:
    """The share of features z [N, D] for which the trained head gives the right answer, int64 [N]."""
    with evaluation.frozen(head):
        return (head(z).argmax(dim=1).cpu() == answers).float().mean().item()


def measure(encoder: nn.Module, bank: datasets.ImageSet, dataset: str, course: Course) -> dict:
    """kNN and linear-probe accuracy on val and test, with a bank of at most 20,000 training images."""
    bank = bank[datasets.limited_indices(bank.labels, min(20_000, len(bank)), seed=0)]
    bank_z = evaluation.features(encoder, bank)
    metrics = {"bank": len(bank), "knn": "k 20, temperature 0.07, cosine, encoder features"}
    for split in ("val", "test"):
        cases = datasets.load(dataset, split, limit=100 if course.profile == "smoke" else None)
        z = evaluation.features(encoder, cases)
        metrics |= {f"{split}_n": len(cases),
                    f"{split}_knn": round(evaluation.knn_accuracy(bank_z, bank.labels, z, cases.labels), 4),
                    f"{split}_linear": round(evaluation.linear_probe(bank_z, bank.labels, z, cases.labels).accuracy, 4)}
    return metrics
