"""Three MedMNIST sets, described by the `medmnist` package and read from its `.npz` files."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import storage
from .imageset import ImageSet
from .storage import DatasetUnavailable, fetch, md5_of, roots

NAMES = ("pneumoniamnist", "retinamnist", "chestmnist")
PATHOLOGIES = ("atelectasis", "cardiomegaly", "consolidation", "edema", "effusion")  # of the lecture's Table 2


def read(name: str, part: str, download: bool) -> ImageSet:
    """The split `part` of a MedMNIST set, uint8 [N, 3, 28, 28]: grey images are repeated over three channels.

    Encoders expect three. Labels are int64 [N], and float32 [N, 14] for chestmnist, which is multi-label. A file
    whose md5 is not the published one is read all the same and called a subset in the source line. Raises
    DatasetUnavailable where there is no file and none can be downloaded, ValueError for a damaged file.
    """
    from medmnist import INFO

    info = INFO[name]
    path = _local(name, download)
    if path is None and not download:
        raise DatasetUnavailable("\n".join(f"{root}: no {name}.npz" for root in roots()))
    path = path or fetch([info["url"]], f"{name}.npz", info["MD5"])
    images, labels = _arrays(path, part)
    classes = tuple(info["label"][str(i)] for i in range(len(info["label"])))
    kind = "official file" if md5_of(path) == info["MD5"] else "subset, not the official file"
    try:
        return ImageSet(_three_channels(images), _targets(labels, "multi-label" in info["task"]), classes, name,
                        f"{info['python_class']} 28×28 ({kind}), {path.name}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def lecture_pathologies(data: ImageSet) -> ImageSet:
    """`chestmnist` with the lecture's five of its fourteen labels: float32 [N, 5] in the order of `PATHOLOGIES`."""
    columns = [data.classes.index(name) for name in PATHOLOGIES]
    return replace(data, labels=data.labels[:, columns], classes=PATHOLOGIES)


def _local(name: str, download: bool) -> Path | None:
    """The first root's file of this set; a broken one of our own download does not count if it may be fetched anew."""
    for root in roots():
        path = root / f"{name}.npz"
        own = root in (storage.DOWNLOADS, storage.user_cache())
        if path.is_file() and not (own and download and not zipfile.is_zipfile(path)):
            return path
    return None


def _arrays(path: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The arrays of one split. medmnist's own class would do, but asserts the official size and so refuses subsets."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:  # np.load alone leaks a damaged file
            return file[f"{part}_images"], file[f"{part}_labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} (md5 {md5_of(path)}) is not a sound MedMNIST file: {error}; "
                         "remove it and load again to download it") from None


def _three_channels(images: np.ndarray) -> Tensor:
    """uint8 [N, H, W] grey or [N, H, W, 3] colour → [N, 3, H, W]."""
    if images.ndim == 3:
        return torch.from_numpy(images)[:, None].repeat(1, 3, 1, 1)
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _targets(labels: np.ndarray, multi_label: bool) -> Tensor:
    """MedMNIST labels [N, 1] → int64 [N]; [N, L] → float32 [N, L] for a multi-label set."""
    if multi_label:
        return torch.from_numpy(labels.astype(np.float32))
    return torch.from_numpy(labels.astype(np.int64).reshape(len(labels), -1).squeeze(1))
