"""One training loop for every method: SGD with momentum, linear warm-up, cosine decay, resumable checkpoints.

`fit` knows a method only as a module whose `forward(images, labels)` returns a loss.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from tqdm import tqdm

from . import distributed
from .datasets.imageset import ImageSet
from .files import whole_file
from .precision import autocast_dtype

SYNC_EVERY = 20  # steps between two looks at the loss: each look makes an accelerator wait for its host
ANEW = "Delete it to start anew, or use the settings it was written with"
PIECE = 2**28  # bytes of images that come to the device at a time, where it cannot hold the whole set


@dataclass
class History:
    """What happened in training: one dict per epoch with epoch (from 1), loss, lr, seconds and on_epoch's metrics."""

    rows: list[dict] = field(default_factory=list)

    def column(self, name: str) -> list[float]:
        """The values of one column, over the epochs that have it."""
        return [row[name] for row in self.rows if name in row]

    @property
    def loss(self) -> list[float]:
        return self.column("loss")

    @property
    def minutes(self) -> float:
        return sum(self.column("seconds")) / 60

    def __repr__(self) -> str:
        if not self.rows:
            return "History(empty)"
        return (f"History({len(self.rows)} epochs, loss {self.loss[0]:.3f} → {self.loss[-1]:.3f}, "
                f"{60 * self.minutes:.0f} s)")


def learning_rate(step: int, total: int, lr: float, warmup: int = 0) -> float:
    """Linear warm-up over `warmup` steps, then cosine decay to 0 at `total` (Loshchilov & Hutter 2017)."""
    if step < warmup:
        return lr * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return lr * 0.5 * (1 + math.cos(math.pi * progress))


def step_decay(step: int, total: int, lr: float, warmup: int = 0) -> float:
    """Linear warm-up, then a tenth at 60 % and a hundredth at 80 % of all steps, as in MoCo v1 (120, 160 of 200)."""
    return lr * (min(1, (step + 1) / max(1, warmup)) if step < 0.6 * total else 0.1 if step < 0.8 * total else 0.01)


def fit(method: nn.Module, data: ImageSet, *, epochs: int, batch_size: int = 256, lr: float = 0.1,
        weight_decay: float = 5e-4, warmup_epochs: float = 0, seed: int = 0, checkpoint: str | Path | None = None,
        on_epoch: Callable[[int, nn.Module], dict | None] | None = None,
        max_minutes: float | None = None, schedule: Callable[..., float] = learning_rate) -> History:
    """Train `method` on `data`, on the device that the method's parameters are on.

    on_epoch(epoch, method), called after each epoch (from 1), may return metrics for the history. checkpoint: a file
    that is written after each epoch and resumed from if it is there; on the same CPU machine the resumed run equals
    the undisturbed one bit for bit. max_minutes: a time budget; the learning rate then follows the clock where the
    clock is ahead of the epochs, so that the last epoch is always a cooled one (and the run no longer reproducible).
    schedule: `learning_rate` (cosine) or `step_decay`, or another function of (step, total, lr, warm-up steps).
    A set that would fill the device's memory stays on the host and comes in pieces. Under `torchrun` batch_size is that
    of all processes together, and only the first calls on_epoch and writes.
    Raises FloatingPointError when the loss is not finite, ValueError for an impossible setting or for a checkpoint
    that is damaged or was written with other settings.
    """
    if epochs < 1 or batch_size < 1 or lr <= 0 or not len(data):
        raise ValueError(f"fit needs epochs >= 1, batch_size >= 1, lr > 0 and images; got epochs={epochs}, "
                         f"batch_size={batch_size}, lr={lr}, {len(data)} images")
    if max_minutes is not None and max_minutes <= 0:
        raise ValueError(f"max_minutes must be positive, or None for no limit, got {max_minutes}")
    device = next(method.parameters()).device
    data = data.to(device if _fits(data, device) else "cpu")
    batch_size = min(batch_size, len(data))
    steps = len(data) // batch_size  # the last, smaller batch is left out: contrastive losses depend on B
    method.to(memory_format=torch.channels_last)
    trainable = [p for p in method.parameters() if p.requires_grad]
    optimizer = SGD(trainable, lr=lr, momentum=0.9, weight_decay=weight_decay, nesterov=True)
    scaler = torch.amp.GradScaler(device.type, enabled=autocast_dtype(device) == torch.float16)
    config = dict(epochs=epochs, batch_size=batch_size, lr=lr, weight_decay=weight_decay, warmup_epochs=warmup_epochs,
                  seed=seed, images=len(data), set=data.name, method=type(method).__name__,
                  schedule=getattr(schedule, "__name__", ""), parts=repr(method))
    state = {"method": method, "optimizer": optimizer, "scaler": scaler}
    history = _resume(checkpoint, state, config)

    run = _Run(method, optimizer, scaler, schedule, config, _Clock(max_minutes, spent=60 * history.minutes), checkpoint)
    was_training = method.training
    bar = tqdm(total=epochs * steps, initial=len(history.rows) * steps, desc=f"{type(method).__name__} on {data.name}",
               unit="batch", leave=False, mininterval=0.5, file=sys.stdout)
    with bar, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), ExitStack() as leaving:
        leaving.callback(method.train, was_training)
        for epoch in range(len(history.rows), epochs):
            method.train()
            # Seeded by (seed, epoch): a resumed run draws what an undisturbed one draws, with no state to save.
            torch.manual_seed(1_000_003 * seed + epoch)
            batches = torch.randperm(len(data))[:steps * batch_size].view(steps, batch_size)
            batches = distributed.share(batches.T).T  # [steps, B / world]
            if distributed.rank():  # each process has views of its own
                torch.manual_seed(1_000_003 * seed + epoch + (distributed.rank() << 40))
            row = _epoch(run, _batches(data, batches, device), steps, epoch, bar)
            if row is None:  # the time was up before the first batch
                break
            history.rows.append(row)
            if distributed.rank():
                continue
            metrics = (on_epoch(epoch + 1, method) if on_epoch else None) or {}
            # Plain numbers: NumPy's would be pickled into a checkpoint that could then not be read without pickle.
            row |= {key: value.item() if hasattr(value, "item") else value for key, value in metrics.items()}
            _save(checkpoint, state, config, history)
    return history


@dataclass
class _Run:
    """What stays the same from epoch to epoch."""

    method: nn.Module
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    schedule: Callable[..., float]
    config: dict
    clock: _Clock
    checkpoint: str | Path | None


def _epoch(run: _Run, batches: Iterator[tuple[Tensor, Tensor]], steps: int, epoch: int, bar: tqdm) -> dict | None:
    """One pass over `batches` of images and labels; its row of the history, None where the clock allowed no step."""
    started, config, total, done = time.perf_counter(), run.config, 0, 0
    epochs, warmup = config["epochs"], config["warmup_epochs"] * steps
    for step, (images, labels) in enumerate(batches):
        at = max(epoch * steps + step, run.clock.fraction * epochs * steps)  # in steps, by whichever is ahead
        if at >= epochs * steps:
            break
        for group in run.optimizer.param_groups:
            group["lr"] = run.schedule(at, epochs * steps, config["lr"], warmup)
        total = total + _step(run.method, images, labels, run.optimizer, run.scaler)
        done += 1
        bar.update()
        if done % SYNC_EVERY == 0:
            mean = _finite(total, done, epoch, run.checkpoint)
            bar.set_postfix_str(f"epoch {epoch + 1}/{epochs}, loss {mean:.3f}", refresh=False)
    if not done:
        return None
    return {"epoch": epoch + 1, "loss": _finite(total, done, epoch, run.checkpoint),
            "lr": run.optimizer.param_groups[0]["lr"], "seconds": time.perf_counter() - started}


def _fits(data: ImageSet, device: torch.device) -> bool:
    """Whether the whole set may lie on the device, with half of what is free there left to the training."""
    if device.type != "cuda" or data.images.device == device:
        return True
    return data.images.nbytes < torch.cuda.mem_get_info(device)[0] / 2


def _batches(data: ImageSet, index: Tensor, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Images uint8 [B, C, H, W] and labels on the device, for each row of index, int64 [steps, B].

    A set that is elsewhere comes in pieces of many batches, through pinned memory where the device is a GPU.
    """
    if data.images.device == device:
        for rows in index.to(device):
            yield data.images[rows], data.labels[rows]
        return
    b = index.shape[1]
    for rows in index.split(max(1, PIECE // (b * data.images[0].nbytes))):
        piece = (tensor[rows.flatten()] for tensor in (data.images, data.labels))
        piece = (tensor.pin_memory() if device.type == "cuda" else tensor for tensor in piece)
        yield from zip(*(tensor.to(device, non_blocking=True).split(b) for tensor in piece), strict=True)


def _step(method: nn.Module, images: Tensor, labels: Tensor, optimizer: Optimizer,
          scaler: torch.amp.GradScaler) -> Tensor:
    """One update; images uint8 [B, C, H, W]. Returns the detached loss, still on the device."""
    images = images.float().div_(255).contiguous(memory_format=torch.channels_last)
    dtype = autocast_dtype(images.device)
    with torch.autocast(images.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        loss = method(images, labels)
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()
    distributed.average(p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None)
    scaler.step(optimizer)
    scaler.update()
    return loss.detach().float()


class _Clock:
    """The share of a time budget that is used up; never over where there is no budget."""

    def __init__(self, max_minutes: float | None, spent: float):
        self.budget = 60 * max_minutes if max_minutes is not None else math.inf
        self.start = time.perf_counter() - spent

    @property
    def fraction(self) -> float:
        if self.budget == math.inf:
            return 0.0
        return distributed.of_first((time.perf_counter() - self.start) / self.budget)  # else they would part ways


def _finite(total: Tensor, steps: int, epoch: int, checkpoint: str | Path | None) -> float:
    """The mean loss of `steps` steps, and over all processes, as a number; FloatingPointError where it is none."""
    total = total.clone()
    distributed.average([total])
    loss = total.item() / steps
    if math.isfinite(loss):
        return loss
    kept = f" The checkpoint of epoch {epoch} is kept in {checkpoint}." if checkpoint and epoch else ""
    raise FloatingPointError(f"the loss became {loss} in epoch {epoch + 1}, by step {steps}: training has diverged. "
                             f"Try a lower lr, a warm-up epoch, or look for a log or a division in your loss.{kept}")


def _save(path: str | Path | None, state: dict, config: dict, history: History) -> None:
    """Write the training state to `path`; OSError, and the old file, where that fails."""
    if path is None:
        return
    path = Path(path)
    try:
        with whole_file(path) as temporary:
            torch.save({key: part.state_dict() for key, part in state.items()}
                       | {"config": config, "history": history.rows}, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise OSError(f"could not write the checkpoint {path} ({error}); the one before it is kept") from error


def _resume(path: str | Path | None, state: dict, config: dict) -> History:
    """Load the training state from `path` if it is there, in all processes; ValueError where it does not fit."""
    saved = None
    if path is not None and distributed.rank() == 0 and Path(path).exists():
        saved = _read(path, config)
    saved = distributed.of_first(saved)
    if saved is None:
        if distributed.world() > 1:  # whatever each was built with, all start with the first one's weights
            weights = {key: value.cpu() for key, value in state["method"].state_dict().items()}
            state["method"].load_state_dict(distributed.of_first(weights))
        return History()
    for key, part in state.items():
        try:
            part.load_state_dict(saved[key])
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{path} does not fit this {config['method']}: {error}. {ANEW}") from error
    for p, moments in state["optimizer"].state.items():
        if any(isinstance(kept, Tensor) and kept.shape != p.shape for kept in moments.values()):
            raise ValueError(f"{path} does not fit this {config['method']}: a momentum has another shape. {ANEW}")
    return History(saved["history"])


def _read(path: str | Path, config: dict) -> dict:
    """The content of a checkpoint of a run with this `config`; ValueError for another file, or another run's."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)  # never unpickles code
        there, _ = dict(saved["config"]), [row["epoch"] for row in saved["history"]]
    except Exception as error:  # torch.load has many for a damaged file, and one for a pickle in disguise
        why = (str(error).strip() or "no reason given").splitlines()[0]
        raise ValueError(f"{path} is no checkpoint of a training, or a damaged one "
                         f"({type(error).__name__}: {why}). {ANEW}") from error
    different = [f"{key}: {_difference(str(there[key]), str(value))}" for key, value in config.items()
                 if key in there and str(there[key]) != str(value)]  # one written before a setting existed is taken
    if different:
        raise ValueError(f"{path} was written with other settings ({'; '.join(different)}). {ANEW}")
    return saved


def _difference(there: str, here: str) -> str:
    """The first lines in which the two differ."""
    pairs = zip_longest(there.splitlines(), here.splitlines(), fillvalue="")
    return next(f"{a.strip()} there, {b.strip()} here" for a, b in pairs if a != b)
