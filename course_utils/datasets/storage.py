"""Where data sets live on disk: the roots that are searched, the cache of decoded arrays, checked downloads."""

from __future__ import annotations

import glob
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

DOWNLOADS = Path(__file__).resolve().parents[2] / "data" / "downloads"
TIMEOUT = (10, 30)  # seconds to connect, and without a single byte, before the next mirror has its turn
_LAYOUT = "1"  # part of every cache key: raise it when decoded arrays change their meaning


class DatasetUnavailable(RuntimeError):
    """A set can be had neither locally nor by download; the message says what was tried and what to do."""


def user_cache() -> Path:
    """The user's own cache folder, which stands in for `data/downloads` where that cannot be written."""
    import pooch

    return Path(pooch.os_cache("self-supervised-vision-course"))


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


def _writable(folder: Path) -> bool:
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
        if _writable(folder) and _write_arrays(folder / f"{key}-{part}.npz", arrays):
            for old in folder.glob(f"{glob.escape(key[:-12])}{'?' * 12}-{part}.npz"):
                if not old.name.startswith(key):
                    with suppress(OSError):  # another notebook may hold it open on Windows
                        old.unlink()
            return
    print(f"decoded images are not cached: no writable folder among {', '.join(map(str, _cache_folders()))}",
          file=sys.stderr)


def _cache_folders() -> list[Path]:
    return [DOWNLOADS / "cache", user_cache() / "cache"]


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` file; object arrays are refused, since reading one means to unpickle it."""
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:  # np.load alone leaks a damaged file
        return {key: file[key] for key in file.files}


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> bool:
    """Writes to a name of its own and renames, so that no reader ever sees half a file; False where that fails."""
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
        os.chmod(partial, 0o644)  # mkstemp makes it private; a shared folder serves everyone in the lab
        os.replace(partial, path)
    except OSError:  # a full disk, most likely
        return False
    finally:
        Path(partial).unlink(missing_ok=True)
    return True


def md5_of(path: Path) -> str:
    """The md5 of a file, as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def fetch(urls: Iterable[str], filename: str, md5: str) -> Path:
    """`filename` from the first of `urls` whose bytes have the checksum `md5`; the path of the file, which is kept.

    A file that came truncated or altered is removed and the next address is tried. Raises DatasetUnavailable with
    one line for each address.
    """
    import pooch

    folder = DOWNLOADS if _writable(DOWNLOADS) else user_cache()
    if not _writable(folder):
        raise DatasetUnavailable(f"nothing can be written to {DOWNLOADS} or {folder}")
    tried, kept = [], folder / filename
    if kept.is_file() and (found := md5_of(kept)) != md5:
        kept.unlink()  # only ever in this package's own folder, never in one of COURSE_DATA
        tried.append(f"{kept}: removed, its md5 is {found} and not {md5}")
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr is not None, chunk_size=1 << 16, timeout=TIMEOUT)
    for url in urls:
        try:
            return Path(pooch.retrieve(url, f"md5:{md5}", fname=filename, path=folder, downloader=downloader))
        except (OSError, ValueError) as error:  # every error of requests is an OSError; a wrong checksum a ValueError
            tried.append(f"{url}: {_first_line(error)}" + ("" if md5 in str(error) else f" (md5 {md5} expected)"))
    raise DatasetUnavailable("\n".join(tried))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
