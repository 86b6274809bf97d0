"""Any class tree `{train,val,test}/<class>/*.png|jpg`, in a folder or in a zip file, as arrays."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from .imageset import ImageSet, resize_square
from .storage import cache_key, cache_read, cache_write, files_below

EXTENSIONS = (".png", ".jpg", ".jpeg")
SPLITS = ("train", "val", "test")
_ORDER_SEED = 20260601
_ROOMY = 2 << 30  # bytes of decoded images above which they are resized one by one instead of all at the end

Tree = dict[str, dict[str, list[str]]]  # split -> class -> members, in order


def read(name: str, source: Path, part: str, size: int | None = None) -> ImageSet | None:
    """The split `part` of the class tree in `source`, a folder or a zip file; None where it holds no such split.

    Images become RGB, uint8 [N, 3, H, W], in one fixed random order (files lie sorted by class, and a slice of
    the set should not be one class). Images of different sizes need `size`. Decoded arrays are cached. Raises
    ValueError, naming the file or the folder, for anything that is not a sound class tree.
    """
    key = cache_key(name, source)
    arrays = cache_read(key, part)
    if arrays is None and size is not None:
        arrays = cache_read(key, f"{part}-{size}")
    if arrays is None:
        tag, arrays = _decode(source, part, size)
        cache_write(key, tag, arrays)
    if not arrays:  # this tree has no such split
        return None
    lossy = bool(arrays["lossy"])
    return ImageSet(torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"]),
                    tuple(arrays["classes"].tolist()), name,
                    f"{name} ({'JPEG files' if lossy else 'PNG files'}), {source.name}")


def holds_tree(path: Path) -> bool:
    """Whether `path` looks like a class tree from outside: a zip file, or a folder with a `train` folder in it."""
    return (path.suffix == ".zip" and path.is_file()) or (path / "train").is_dir()


@contextmanager
def open_tree(source: Path) -> Iterator[tuple[Tree, Callable[[str], bytes]]]:
    """The checked class tree of a folder or zip file, and a function that reads one of its members."""
    if source.is_dir():
        yield _tree(source, files_below(source)), lambda member: (source / member).read_bytes()
        return
    try:
        archive = zipfile.ZipFile(source)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise ValueError(f"{source} cannot be read as a zip file: {error}") from None
    with archive:
        for member in archive.namelist():
            parts = member.replace("\\", "/").split("/")
            if not parts[0] or ".." in parts or ":" in parts[0]:
                raise ValueError(f"{source} holds {member!r}, a path that leads out of the archive; it is not read")
        yield _tree(source, archive.namelist()), archive.read


def _tree(source: Path, paths: list[str]) -> Tree:
    """Split → class → image members of `paths` (folders end in a slash), checked; ValueError names the fault."""
    tree: Tree = {}
    tops = set()
    for path in sorted(paths):
        *parts, last = path.replace("\\", "/").split("/")  # last is empty for a folder
        depth = next((i for i, part in enumerate(parts[:2]) if part in SPLITS), None)
        if depth is None or any(part.startswith((".", "__MACOSX")) for part in [*parts, last]):
            continue
        tops.add("/".join(parts[:depth]) or ".")
        split, inside = parts[depth], parts[depth + 1:]
        is_image = last.lower().endswith(EXTENSIONS)
        if is_image and not inside:
            raise ValueError(f"{source}: {path} lies outside the class folders")
        if inside and (is_image or not last):  # a folder makes its class known, so that an empty one is noticed
            tree.setdefault(split, {}).setdefault(inside[0], []).extend([path] if is_image else [])
    if len(tops) > 1:
        raise ValueError(f"{source} holds more than one class tree: {', '.join(sorted(tops))}")
    return _checked(source, tree)


def _checked(source: Path, tree: Tree) -> Tree:
    """`tree` itself, or a ValueError: no train split, one class, an empty class, classes that differ."""
    layout = f"expected {{train,test}}/<class>/*{'|'.join(EXTENSIONS)}"
    if "train" not in tree:
        raise ValueError(f"{source} has no train folder with class folders in it; {layout}")
    classes = set(tree["train"])
    if len(classes) < 2:
        raise ValueError(f"{source} has only one class, {min(classes)!r}; a class tree needs two or more")
    for split, folders in tree.items():
        if set(folders) != classes:
            odd = ", ".join(sorted(set(folders) ^ classes))
            raise ValueError(f"{source}: train and {split} have different classes: {odd}")
        for label, files in folders.items():
            if not files:
                raise ValueError(f"{source}: class folder {split}/{label} holds no image; {layout}")
    return tree


def _fits_whole(members: Sequence[str], read_bytes: Callable[[str], bytes], size: int | None) -> bool:
    """Whether all images can be decoded at their own size first, which the headers tell; False needs `size`."""
    if size is None:
        return True
    first = _dimensions(members[0], read_bytes)
    if len(members) * 3 * first[0] * first[1] > _ROOMY:
        return False
    return all(_dimensions(member, read_bytes) == first for member in members[1:])


def _dimensions(member: str, read_bytes: Callable[[str], bytes]) -> tuple[int, int]:
    from PIL import Image

    with _naming(member), Image.open(io.BytesIO(read_bytes(member))) as image:
        return image.size


def _decode(source: Path, part: str, size: int | None) -> tuple[str, dict[str, np.ndarray]]:
    """The cache tag and the arrays of one split: images [N, 3, H, W], labels [N], classes, lossy; none for no split."""
    with open_tree(source) as (tree, read_bytes):
        if part not in tree:
            return part, {}
        classes = sorted(tree[part])
        files = [(member, label) for label, name in enumerate(classes) for member in tree[part][name]]
        order = torch.randperm(len(files), generator=torch.Generator().manual_seed(_ORDER_SEED)).tolist()
        members, labels = zip(*(files[i] for i in order), strict=True)
        if _fits_whole(members, read_bytes, size):
            size = None
        images = _decode_all(members, read_bytes, size, f"decoding {source.name} ({part})")
    lossy = any(not member.lower().endswith(".png") for member in members)
    return part if size is None else f"{part}-{size}", {
        "images": images, "labels": np.array(labels), "classes": np.array(classes), "lossy": np.array(lossy)}


def _decode_all(members: Sequence[str], read_bytes: Callable[[str], bytes], size: int | None,
                title: str) -> np.ndarray:
    """All `members` as uint8 [N, 3, H, W]; ValueError naming the first file whose size differs from the rest."""
    from tqdm import tqdm

    def one(member: str) -> np.ndarray:
        with _naming(member):
            pixels = decode_image(read_bytes(member))
        return pixels if size is None else resize_square(torch.from_numpy(pixels)[None], size)[0].numpy()

    first = one(members[0])
    images = np.empty((len(members), *first.shape), np.uint8)
    # Threads pay for photographs; on thumbnails they only fight for the interpreter lock (measured: twice as slow).
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1)) if len(read_bytes(members[0])) > 30_000 else None
    try:
        decoded = pool.map(one, members) if pool else map(one, members)
        bar = tqdm(zip(members, decoded, strict=True), title, total=len(members), disable=len(members) < 5000)
        for row, (member, pixels) in enumerate(bar):
            if pixels.shape != first.shape:
                raise ValueError(f"images differ in size: {members[0]} is {first.shape[2]}×{first.shape[1]}, {member} "
                                 f"is {pixels.shape[2]}×{pixels.shape[1]}; load(..., size=...) brings them to one")
            images[row] = pixels
    finally:
        if pool:  # after an error nobody waits for the other photographs
            pool.shutdown(cancel_futures=True)
    return images


def decode_image(encoded: bytes) -> np.ndarray:
    """An image file's bytes as RGB, uint8 [3, H, W], turned upright as its EXIF tag says; transparency is dropped."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(encoded)) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # 16-bit grey: keep the high byte, where convert would clip at 255
            upright = Image.fromarray((np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
        if "transparency" in upright.info:
            upright = upright.convert("RGBA")
        return np.array(np.asarray(upright.convert("RGB")).transpose(2, 0, 1), order="C")  # a copy, which torch may own


@contextmanager
def _naming(member: str) -> Iterator[None]:
    """Turns whatever a broken image file raises into a ValueError with the file's name."""
    try:
        yield
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        raise ValueError(f"{member} cannot be read as an image: {type(error).__name__}: {reason}") from error
