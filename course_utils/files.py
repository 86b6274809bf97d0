"""Writing a file so that nobody ever reads half of one."""

from __future__ import annotations

import glob
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, which at the end becomes `path`, or is removed where the writing failed.

    Readers find the old file or the new, also where the process is killed, and two writers, on whatever machine, never
    write into the same one. Folders on the way are made; what a killed process left here is removed after an hour.
    Raises whatever the writing raises, and OSError where the file cannot be renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError):  # another process was faster
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with suppress(OSError):  # there is none left after the renaming
            temporary.unlink()
