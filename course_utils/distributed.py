"""Training in several processes: what a method and `fit` ask of the others. In a single process, nothing happens.

    torchrun --nproc-per-node=2 -m course_utils pretrain simclr cifar10

Each process ("rank") has the whole set and the same weights, makes views of its share of every batch, and encodes them.
Embeddings are gathered, so that the loss sees the global batch; gradients are averaged. Only the first process writes.
BatchNorm takes its statistics from its own share, as in `DistributedDataParallel`, and the first process's are saved.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if world() > 1 else 0


def share(batch: Tensor) -> Tensor:
    """This process's part of a batch [B, ...] that all have; ValueError where B is not a multiple of `world`."""
    if len(batch) % world():
        raise ValueError(f"a batch of {len(batch)} cannot be shared by {world()} processes: take a multiple")
    return batch.chunk(world())[rank()]


def gather(part: Tensor) -> Tensor:
    """The batch [B, ...] of which each process has a part, in the order of their ranks.

    With a gradient: every process computes the same loss of the batch and keeps the part of the gradient that belongs
    to its own rows, times `world`, so that the mean over the processes (`average`) is the gradient of the loss.
    """
    return part if world() == 1 else _Gather.apply(part)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(_, part: Tensor) -> Tensor:
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(world())]
        _ask(dist.all_gather, parts, part.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(_, gradient: Tensor) -> Tensor:
        return share(gradient) * world()


def average(tensors: Iterable[Tensor]) -> None:
    """Replaces each tensor by its mean over the processes."""
    tensors = list(tensors)
    if world() > 1:
        flat = torch.cat([tensor.flatten() for tensor in tensors])  # one message, not one for each layer
        _ask(dist.all_reduce, flat)
        for tensor, mean in zip(tensors, (flat / world()).split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def of_first(value: Any) -> Any:
    """The first process's `value` in all of them: a contiguous tensor, or anything on the CPU that pickle takes."""
    if world() > 1 and isinstance(value, Tensor):
        _ask(dist.broadcast, value, 0)
    elif world() > 1:
        box = [value]
        _ask(dist.broadcast_object_list, box)
        return box[0]
    return value


def first_alone(call: Callable[[], Any]) -> Any:
    """call(), first in the first process and then, from its download or cache, in the others."""
    found = call() if rank() == 0 else None
    of_first(None)
    return found if rank() == 0 else call()


@contextmanager
def group() -> Iterator[None]:
    """The processes that `torchrun` started, joined: nccl on GPUs, each its own, else gloo; alone without torchrun."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    wanted = os.environ.get("COURSE_DEVICE") or "cuda"
    if ":" in wanted:
        raise ValueError(f"COURSE_DEVICE={wanted!r}, but under torchrun each process has its own GPU: unset it")
    on_gpu = torch.cuda.is_available() and not wanted.startswith("cpu")
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(hours=1))  # the first may have to download
    yield
    dist.destroy_process_group()  # not after an error: it would wait for processes that are gone


def _ask(collective: Callable, *arguments) -> None:
    try:
        collective(*arguments)
    except RuntimeError as error:
        raise RuntimeError("another process of this training has ended or cannot be reached. If it did not say why, "
                           "start the same command again: the last checkpoint is whole, and it goes on from there "
                           f"({error})") from error
