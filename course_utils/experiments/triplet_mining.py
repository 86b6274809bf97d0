"""Notebook 05: random, semi-hard and batch-hard triplets: what is active, what collapses, what features are worth."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import datasets, encoders, evaluation, losses, methods, training
from ..settings import Course
from .pretrain import contrastive_views
from .simclr_runs import probes

TITLE = "Triplet mining on 10,000 CIFAR-10 images: active triplets, spectrum of the embedding, probes"
VARIANTS = {  # name: mining, is the embedding scaled to length one?
    "random": ("random", True), "semi-hard": ("semi-hard", True), "batch-hard": ("hard", True),
    "batch-hard, not normalised": ("hard", False)}
MARGINS = (0.2, 0.5, 1.0)
RANKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)  # the eigenvalues that are written down


def run(course: Course) -> tuple[list[dict], dict, str]:
    """Three seeds of each kind of mining, all with the margin that val chose for semi-hard mining; probes on test."""
    train = datasets.load("cifar10", "train", limit=course.pick(smoke=256, laptop=10_000, gpu=10_000))
    val = datasets.load("cifar10", "val", limit=course.pick(smoke=128, laptop=2_000, gpu=2_000))
    test = datasets.load("cifar10", "test", limit=course.pick(smoke=200, laptop=None, gpu=None))
    epochs, seeds = course.pick(smoke=(1, 2), laptop=(12, 3), gpu=(12, 3))
    settings = dict(epochs=epochs, batch_size=128, lr=0.1, warmup_epochs=1 if epochs > 1 else 0)

    def margin_score(margin: float) -> float:
        return _train("semi-hard", margin, 0, train, val, val, settings, course)[1]["linear probe"]

    margins = {margin: round(margin_score(margin), 4) for margin in MARGINS}
    margin = max(margins, key=margins.get)
    print(f"val accuracy by margin: {margins}", flush=True)
    rows = []
    for variant in VARIANTS:
        runs = [_train(variant, margin, seed, train, val, test, settings, course) for seed in range(seeds)]
        print(f"{variant}: {[final for _, final in runs]}", flush=True)
        about = {"variant": variant, "seeds": seeds}
        for quantity in runs[0][1]:
            rows.append(about | {"quantity": quantity, "epoch": epochs, "n": len(test)}
                        | _mean([final[quantity] for _, final in runs]))
        for epoch, measured in enumerate(zip(*[watched for watched, _ in runs], strict=True)):
            for quantity in measured[0]:
                rows.append(about | {"quantity": quantity, "epoch": epoch, "n": 512}
                            | _mean([run[quantity] for run in measured]))
    # What a collapsed network is to be held to: the first weights.
    runs = [probes(_encoder(seed).to(course.device), train, test) for seed in range(seeds)]
    for quantity in runs[0]:
        rows.append({"variant": "untrained", "seeds": seeds, "quantity": quantity, "epoch": 0, "n": len(test)}
                    | _mean([run[quantity] for run in runs]))
    return rows, settings | {"margin": margin, "val_accuracy_by_margin": margins, "images": len(train)}, test.source


def _train(variant: str, margin: float, seed: int, train: datasets.ImageSet, val: datasets.ImageSet,
           test: datasets.ImageSet, settings: dict, course: Course) -> tuple[list[dict], dict]:
    """What was seen before training and after each epoch, and the probes of the last epoch."""
    mining, normalize = VARIANTS[variant]
    encoder = _encoder(seed)
    head = encoders.projection_head(encoder.feature_dim, 128)
    method = methods.TripletNetwork(encoder, augment=contrastive_views(train.images.shape[-1]), head=head,
                                    margin=margin, mining=mining, normalize=normalize).to(course.device)
    watched = [watch(method, val)]
    training.fit(method, train, **settings, seed=seed,
                 on_epoch=lambda epoch, method: watched.append(watch(method, val)))
    return watched, probes(encoder, train, test)


def _encoder(seed: int) -> encoders.ResNet:
    torch.manual_seed(seed)
    return encoders.resnet10("fast")


def watch(method: methods.TripletNetwork, val: datasets.ImageSet) -> dict[str, float]:
    """Active share of the mined triplets, effective rank and spectrum of z, on two fixed views of 256 val images."""
    device = next(method.parameters()).device
    with torch.random.fork_rng(devices=[]), evaluation.frozen(method):
        torch.manual_seed(0)  # the same views and draws every time
        images = val[torch.arange(min(256, len(val)))].float_images().to(device)
        z = method.embed(torch.cat([method.augment(images), method.augment(images)]))  # [512, 128]
        image = torch.arange(len(images), device=device).repeat(2)
        a, p, n, _ = losses.mine_triplets(z, image, method.mining, method.margin)
        excess = (z[a] - z[p]).square().sum(1) - (z[a] - z[n]).square().sum(1) + method.margin
        spectrum = eigenvalues(z)
    found = {"active fraction": (excess > 0).float().mean().item(), "loss": excess.clamp(min=0).mean().item(),
             "mean length of z": z.norm(dim=1).mean().item(), "effective rank": effective_rank(spectrum)}
    return found | {f"eigenvalue {k}": spectrum[k - 1].item() for k in RANKS if k <= len(spectrum)}


def eigenvalues(z: Tensor) -> Tensor:
    """The eigenvalues [D] of the embedding's covariance, largest first."""
    return torch.linalg.svdvals(z - z.mean(dim=0)).square() / len(z)


def effective_rank(spectrum: Tensor) -> float:
    """exp of the entropy of the normalised eigenvalues: D for a round cloud, 1 for a line (Roy & Vetterli 2007)."""
    share = spectrum / spectrum.sum().clamp(min=1e-12)
    return torch.special.entr(share).sum().exp().item()


def _mean(values: list[float]) -> dict:
    low, high = evaluation.mean_interval(values)
    return {"value": sum(values) / len(values), "low": low, "high": high}
