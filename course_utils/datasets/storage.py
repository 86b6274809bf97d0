"""Where data sets live on disk: the roots that are searched, the cache of decoded arrays, checked downloads."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..files import whole_file

DOWNLOADS = Path(__file__).resolve().parents[2] / "data" / "downloads"
TIMEOUT = (10, 30)  # seconds to connect, and without a single byte, before the next mirror has its turn
SLOWEST, WINDOW = 10_000, 60  # bytes per second, over so many seconds: a mirror below that has had its turn, too
_LAYOUT = "1"  # part of every cache key: raise it when decoded arrays change their meaning


class DatasetUnavailable(RuntimeError):
    """A set can be had neither locally nor by download; the message says what was tried and what to do."""


def user_cache() -> Path:
    """The user's own cache folder, which stands in for `data/downloads` where that cannot be written."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("self-supervised-vision-course"))


def roots() -> list[Path]:
    """The folders searched for data: those in `COURSE_DATA`, then `data/downloads`, then the user's cache folder.

    Raises ValueError for a folder in `COURSE_DATA` that is relative or does not exist: notebooks run in a folder of
    their own, so a path that is silently not found would send them off to download.
    """
    named = [Path(entry) for entry in os.environ.get("COURSE_DATA", "").split(os.pathsep) if entry.strip()]
    for root in named:
        if not root.is_absolute():
            raise ValueError(f"COURSE_DATA names {str(root)!r}, which is not an absolute path")
        if not root.is_dir():
            raise ValueError(f"COURSE_DATA names {str(root)!r}, but there is no such folder")
    return list(dict.fromkeys([*named, DOWNLOADS, user_cache()]))


def writable(folder: Path) -> bool:
    """Whether files can be made in `folder`, which is created; tried, since permission bits do not tell."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def files_below(folder: Path) -> list[str]:
    """The files and folders below `folder`, relative to it, with slashes, folders ending in one; links followed."""
    found = []
    for here, folders, files in os.walk(folder, followlinks=True):
        prefix = Path(here).relative_to(folder).as_posix() + "/"
        found += [(prefix + name).removeprefix("./") for name in [*(f"{f}/" for f in folders), *files]]
    return sorted(found)


def cache_key(name: str, source: Path) -> str:
    """A file name stem for what is decoded from `source`; another one when any of its files changes (size, time)."""
    source = source.resolve()
    where = hashlib.sha1(str(source).encode(), usedforsecurity=False).hexdigest()[:8]
    state = hashlib.sha1(_LAYOUT.encode(), usedforsecurity=False)
    for file in [source / path for path in files_below(source)] if source.is_dir() else [source]:
        status = file.stat()
        state.update(f"\n{file} {status.st_size} {status.st_mtime_ns}".encode(errors="surrogateescape"))
    return f"{name}-{where}-{state.hexdigest()[:12]}"


def cache_read(key: str, part: str) -> dict[str, np.ndarray] | None:
    """The arrays kept under `key` and `part`; None where there are none, or only a damaged file."""
    for folder in _cache_folders():
        with suppress(Exception):  # absent, unreadable or damaged is all the same: it is decoded again
            return read_npz(folder / f"{key}-{part}.npz")
    return None


def cache_write(key: str, part: str, arrays: dict[str, np.ndarray]) -> None:
    """Keeps `arrays` as one `.npz` without pickle, in place of those of an earlier state of the same source.

    The file appears whole or not at all, so that two notebooks may decode at once. Without a writable folder only
    the cache is lost, with one line on stderr.
    """
    for folder in _cache_folders():
        if writable(folder) and _write_arrays(folder / f"{key}-{part}.npz", arrays):
            for old in folder.glob(f"{glob.escape(key[:-12])}{'?' * 12}-{part}.npz"):
                if not old.name.startswith(key):
                    with suppress(OSError):  # another notebook may hold it open on Windows
                        old.unlink()
            return
    places = ", ".join(map(str, _cache_folders()))
    print(f"decoded images are not cached: no room, or no writable folder, among {places}", file=sys.stderr)


def _cache_folders() -> list[Path]:
    return [DOWNLOADS / "cache", user_cache() / "cache"]


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` file; object arrays are refused, since reading one means to unpickle it."""
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:  # np.load alone leaks a damaged file
        return {key: file[key] for key in file.files}


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> bool:
    """Whether the file could be written; a full disk, most likely, leaves none."""
    try:
        with whole_file(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)
    except OSError:
        return False
    return True


def md5_of(path: Path) -> str:
    """The md5 of a file, as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def fetch(urls: Iterable[str], filename: str, md5: str) -> Path:
    """`filename` from the first of `urls` whose bytes have the checksum `md5`; the path of the file, which is kept.

    What a cut connection left is continued, by the next address or the next call; bytes with another checksum are
    removed and the next address is tried. Raises DatasetUnavailable with one line for each address.
    """
    folder = DOWNLOADS if writable(DOWNLOADS) else user_cache()
    if not writable(folder):
        raise DatasetUnavailable(f"nothing can be written to {DOWNLOADS} or {folder}")
    tried, kept = [], folder / filename
    if kept.is_file():
        if (found := md5_of(kept)) == md5:
            return kept
        kept.unlink()  # only ever in this package's own folder, never in one of COURSE_DATA
        tried.append(f"{kept}: removed, its md5 is {found} and not {md5}")
    part = _own_part(kept)
    try:
        for url in urls:
            try:
                if _complete(url, part, md5):
                    os.replace(part, kept)
                    return kept
                tried.append(f"{url}: these are other bytes (md5 {md5} expected)")
            except (OSError, ValueError) as error:  # every error of requests is an OSError
                if getattr(error, "errno", None) == errno.ENOSPC:
                    part.unlink(missing_ok=True)
                    raise DatasetUnavailable(f"the disk that holds {folder} is full: free some room there") from error
                tried.append(f"{url}: {_first_line(error)} (md5 {md5} expected)")
    finally:
        if part.exists():  # interrupted, too: the next call may have it at once
            os.utime(part, (0, 0))
    raise DatasetUnavailable("\n".join(tried))


def _own_part(kept: Path) -> Path:
    """A name of this process's own for a file on its way, with what a download that is no longer running had got."""
    own = kept.with_name(f"{kept.name}.{os.getpid()}.part")
    for left in kept.parent.glob(f"{glob.escape(kept.name)}.*.part"):
        with suppress(OSError):  # another process was faster
            if left != own and time.time() - left.stat().st_mtime > WINDOW:
                os.replace(left, own)  # a running download would have written, or given up
    return own


def _complete(url: str, part: Path, md5: str) -> bool:
    """Download the rest of `part`; whether it then has the checksum, else it is removed."""
    for _ in range(2):
        continued = _download(url, part)
        if md5_of(part) == md5:
            return True
        part.unlink()
        if not continued:  # else the bad bytes may have been there before: once more, from the beginning
            break
    return False


def _download(url: str, part: Path) -> bool:
    """Append to `part` what is missing, or write it anew where the server does not continue; whether it did continue.

    OSError where it breaks off. A server is given up that sends nothing for TIMEOUT seconds, or less than SLOWEST over
    WINDOW seconds.
    """
    import requests
    from tqdm import tqdm
    from urllib3.exceptions import HTTPError

    at = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={at}-"} if at else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416:  # there is nothing after what we have: complete, or wrong, as its checksum tells
            return True
        answer.raise_for_status()
        at = at if answer.status_code == 206 else 0
        total = at + int(answer.headers.get("Content-Length", 0))
        with part.open("ab" if at else "wb") as file, tqdm(total=total or None, initial=at, unit="B", unit_scale=True,
                                                           desc=part.name.split(".")[0], leave=False) as bar:
            try:
                _copy(answer.raw, file, bar)
            except HTTPError as error:  # urllib3's are no OSErrors
                raise ConnectionError(str(error)) from error
            if file.tell() < total:
                raise ConnectionError(f"broke off after {file.tell():,} of {total:,} bytes")
    return at > 0


def _copy(raw, file: BinaryIO, bar) -> None:
    """All that arrives from `raw` into `file`; TimeoutError where it is less than SLOWEST over WINDOW seconds."""
    read = getattr(raw, "read1", raw.read)  # what has arrived: a trickle must not block until a chunk is full
    since, before = time.monotonic(), file.tell()
    while chunk := read(1 << 16):
        bar.update(file.write(chunk))
        if time.monotonic() - since > WINDOW:
            if file.tell() - before < SLOWEST * WINDOW:
                raise TimeoutError(f"less than {SLOWEST / 1000:g} kB/s over {WINDOW:g} seconds")
            since, before = time.monotonic(), file.tell()


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
