"""Data sets: `load(name, split)` gives an `ImageSet`, from this machine where it can, else by a checked download."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace

import torch

from . import cifar, folder, medical, storage
from .imageset import ImageSet, balanced_indices, concat, limited_indices, resize_square
from .storage import DatasetUnavailable, roots

__all__ = ["DatasetUnavailable", "ImageSet", "balanced_indices", "load", "names"]

GENERATED = ("scenes", "fundus")
BUILT_IN = (*GENERATED, "cifar10", *medical.NAMES)
SPLITS = ("train", "val", "test", "train+val")
_VAL_SEED = 20260602  # of its own, so that no seed of an experiment ever moves an image from val to train


def load(name: str, split: str = "train", *, limit: int | None = None, size: int | None = None, seed: int = 0,
         download: bool = True) -> ImageSet:
    """The images and labels of the set `name`: a built-in one, or any class tree below a root (see `names`).

    split: "train", "val", "test" or "train+val". Choose settings on val and read test once. Where the source has no
        val, it is a fixed tenth of each class of train, which `train` leaves out.
    limit: at most this many images, drawn by `seed`, spread evenly over the classes (by their proportions where a
        class is too small, at random for multi-label sets).
    size: images become size×size: shorter side resized (bilinear, antialiased), centre cut out. The synthetic sets
        are drawn at that size instead. None keeps the size of the source.
    seed: draws the subset, nothing else: the same (name, split) is the same images everywhere.
    download: whether the network may be used.

    Raises ValueError for arguments or data that make no sense, DatasetUnavailable where the set cannot be had.
    """
    _check(name, split, limit, size)
    part = _from_parts(_reader(name, size, download), name, split)
    if limit is not None:
        part = part[limited_indices(part.labels, limit, seed)]
    return part if size is None else replace(part, images=resize_square(part.images, size))


def names() -> list[str]:
    """The sets that `load` knows: the built-in ones, then the class trees and zip files in the roots, sorted."""
    found = {path.stem if path.suffix == ".zip" else path.name
             for root in roots() if root.is_dir() for path in root.iterdir()
             if folder.holds_tree(path) and not path.name.startswith(".")}
    return [*BUILT_IN, *sorted(found - set(BUILT_IN))]


def _check(name: str, split: str, limit: int | None, size: int | None) -> None:
    if not isinstance(name, str) or not name or name.startswith(".") or any(mark in name for mark in "/\\:\0"):
        raise ValueError(f"{name!r} is no data set name: a name is one folder name, the folder goes into COURSE_DATA")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    for what, value in (("limit", limit), ("size", size)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{what} must be a whole number of 1 or more, got {value!r}")


def _reader(name: str, size: int | None, download: bool) -> Callable[[str], ImageSet | None]:
    """A function from "train", "val" or "test" to that part of the set as its source has it, None for no such part."""
    if name in GENERATED:
        generate = importlib.import_module(f"{__name__}.{name}").generate
        return lambda part: generate(part) if size is None else generate(part, size=size)
    if name == "cifar10":
        return lambda part: _advised(name, f"put cifar10.zip or {cifar.ARCHIVE}", lambda: cifar.read(
            name, part, size, download))
    if name in medical.NAMES:
        return lambda part: _advised(name, f"put {name}.npz", lambda: medical.read(name, part, download))
    for root in roots():
        for source in (root / f"{name}.zip", root / name):
            if folder.holds_tree(source):
                return lambda part: folder.read(name, source, part, size)
    raise ValueError(f"there is no data set {name!r}; known: {', '.join(names())}. A folder "
                     f"{name}/{{train,test}}/<class>/ or the same in {name}.zip, in a folder of COURSE_DATA, makes one")


def _advised(name: str, remedy: str, read: Callable[[], ImageSet | None]) -> ImageSet | None:
    """`read()`, with what was tried and what to do about it in the message of DatasetUnavailable."""
    try:
        return read()
    except DatasetUnavailable as error:
        tried = "\n".join(f"  - {line}" for line in str(error).splitlines())
        raise DatasetUnavailable(
            f"{name} was neither found on this machine nor downloaded. Tried:\n{tried}\n"
            f"What to do: {remedy} into {storage.DOWNLOADS},\n"
            f"or into a folder of your own and set COURSE_DATA to its absolute path, or allow the download "
            f"(download=True, with a network),\nor use an embedded set, which needs no file: "
            f"load('{'fundus' if name in medical.NAMES else 'scenes'}').") from None


def _from_parts(read: Callable[[str], ImageSet | None], name: str, split: str) -> ImageSet:
    """The asked split out of the parts that the source has; val is held out of train where it has none."""
    if split == "test":
        test = read("test")
        if test is None:
            raise ValueError(f"data set {name!r} has no test folder")
        return test
    if split == "train" and name in GENERATED:  # they have a val of their own; it need not be drawn to know that
        return read("train")
    val = read("val")
    if val is not None and split == "val":
        return val
    train = read("train")
    if split == "train+val":
        return train if val is None else concat(train, val)
    if val is not None:
        return train
    held = held_out(train)
    if split == "val" and not bool(held.any()):
        raise ValueError(f"data set {name!r} is too small to hold out a val split; give it a val folder")
    return train[held if split == "val" else ~held]


def held_out(train: ImageSet) -> torch.Tensor:
    """Which images of `train` are val: bool [N], a tenth of each class, always the same ones.

    One image of each class at least, and none at all where a class has a single image and would vanish from train.
    """
    held = torch.zeros(len(train), dtype=torch.bool)
    if train.labels.ndim != 1 or int(torch.bincount(train.labels).min()) > 1:
        total = max(len(train) // 10, len(train.classes))
        held[limited_indices(train.labels, total, _VAL_SEED, balanced=False)] = True
    return held
