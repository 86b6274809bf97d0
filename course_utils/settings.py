"""`setup()`: one call per notebook that settles profile, device, precision and seeds, and says so."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import torch

from .precision import autocast_dtype

PROFILES = ("smoke", "laptop", "gpu")
T = TypeVar("T")


@dataclass(frozen=True)
class Course:
    """The settings that a notebook runs under: profile, device, precision, seed."""

    profile: str
    device: torch.device
    precision: torch.dtype
    seed: int

    def pick(self, *, smoke: T, laptop: T, gpu: T) -> T:
        """The value for the current profile, so that every knob stays visible in the cell that uses it."""
        return {"smoke": smoke, "laptop": laptop, "gpu": gpu}[self.profile]

    def natural_images(self, split: str = "train", **options):
        """CIFAR-10 (see `datasets.load` for the options), or `scenes` with a visible banner where it cannot be had."""
        return self._load_or_stand_in("cifar10", "scenes", split, options)

    def medical_images(self, split: str = "train", **options):
        """PneumoniaMNIST, or `fundus` with a visible banner where it cannot be had."""
        return self._load_or_stand_in("pneumoniamnist", "fundus", split, options)

    def _load_or_stand_in(self, name: str, stand_in: str, split: str, options: dict):
        from . import datasets

        try:
            # The smoke profile promises to need no network, so it takes what is on the disk.
            return datasets.load(name, split, **{"download": self.profile != "smoke", **options})
        except datasets.DatasetUnavailable as error:
            if os.environ.get("COURSE_STAND_INS", "1") == "0":
                raise
            _announce_stand_in(name, stand_in, str(error))
            return datasets.load(stand_in, split, **{k: v for k, v in options.items() if k != "download"})


@cache  # once per set and session, not once per call
def _announce_stand_in(name: str, stand_in: str, why: str) -> None:
    bar = "-" * 100
    print(f"{bar}\n{name} is not at hand, so these cells run on {stand_in!r}: pictures made by code, not photographs.\n"
          f"What you see holds for {stand_in!r}; the text speaks of {name}.\n{why}\n{bar}")


def setup(seed: int = 0) -> Course:
    """Choose profile and device, seed every generator, print a three-line banner, and return the `Course`.

    COURSE_PROFILE: smoke, laptop or gpu (default: gpu where an accelerator is present, else laptop).
    COURSE_DEVICE: cpu, cuda, cuda:1, mps (default: the best present). Raises ValueError for values it does not know.
    """
    device = choose_device(os.environ.get("COURSE_DEVICE"))
    profile = os.environ.get("COURSE_PROFILE") or ("laptop" if device.type == "cpu" else "gpu")
    if profile not in PROFILES:
        raise ValueError(f"COURSE_PROFILE={profile!r} is not a profile; there are: {', '.join(PROFILES)}")
    random.seed(seed)
    torch.manual_seed(seed)
    import numpy

    numpy.random.seed(seed)  # noqa: NPY002  scikit-learn still draws from it
    course = Course(profile, device, autocast_dtype(device) or torch.float32, seed)
    print(_banner(course))
    return course


def _banner(course: Course) -> str:
    explained = {"smoke": "a quick run that proves the code works. ITS NUMBERS ARE NO RESULTS.",
                 "laptop": "sized for a CPU; every cell under 90 seconds.",
                 "gpu": "the full settings, sized for one accelerator."}[course.profile]
    device = str(course.device)
    threads = torch.get_num_threads()
    device += f", {threads} thread{'s' * (threads > 1)}" if device == "cpu" else f" ({_device_name(course.device)})"
    return (f"profile  {course.profile}: {explained}\n"
            f"device   {device}, {str(course.precision).removeprefix('torch.')}\n"
            f"data     {_data_line(course.profile)}")


def _data_line(profile: str) -> str:
    from .datasets import cifar, storage

    copy = cifar.on_disk()
    if copy is not None:
        where = "data/downloads" if copy.parent == storage.DOWNLOADS else "COURSE_DATA"
        return f"CIFAR-10 from {copy.name} in {where}"
    if profile == "smoke":
        return "no CIFAR-10 on this machine: the embedded set 'scenes' stands in for it"
    return "CIFAR-10 is downloaded once, on first use, into data/downloads (170 MB)"


def choose_device(wanted: str | None = None) -> torch.device:
    """The device of that name, or the best present: CUDA, MPS, else the CPU; ValueError for one that is not there."""
    present = ["cpu"] + [name for name, there in (("mps", torch.backends.mps.is_available()),
                                                  ("cuda", torch.cuda.is_available())) if there]
    if not wanted:
        return torch.device(present[-1])
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = None
    if device is None or device.type not in present or str(device).startswith("cpu:"):
        raise ValueError(f"COURSE_DEVICE={wanted!r} is not to be had here; there are: {', '.join(present)}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"COURSE_DEVICE={wanted!r}, but there are only {torch.cuda.device_count()} CUDA devices")
    return device


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "Apple GPU"
