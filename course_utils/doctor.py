"""`python -m course_utils doctor`: is everything there that the notebooks need, and how long will they take here?"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
import textwrap
import time
import webbrowser
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements.txt"
SECONDS = 10  # that `speed` measures for


def examine(quick: bool = False) -> list[str]:
    """Print what is here, in plain words; return what is missing that the notebooks need, each with its remedy.

    quick: without the network and the speed, which take about fifteen seconds.
    """
    problems = [*software(), *hardware(), *data(quick)]
    if not quick:
        print("\n".join(speed_lines(speed())))
    print("\n".join(f"PROBLEM     {problem}" for problem in problems) or "All set: make lab, or jupyter lab notebooks/")
    return problems


def software() -> list[str]:
    """Python, the packages, a browser; what is missing."""
    problems, found = [], []
    print(f"Python      {sys.version.split()[0]}")
    if sys.version_info < (3, 11):  # noqa: UP036  a doctor sees whoever comes
        problems.append("Python 3.11 or newer is needed")
    for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines():
        package, _, least = line.partition("#")[0].strip().partition(">=")
        if not package:
            continue
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            problems.append(f"{package} is missing: pip install -r requirements.txt")
        else:
            if _numbers(version(package)) < _numbers(least):
                problems.append(f"{found[-1]} is too old, {least} is needed: pip install -U -r requirements.txt")
    print(textwrap.fill(", ".join(found), 110, initial_indent="packages    ", subsequent_indent=" " * 12))
    try:
        print(f"browser     {webbrowser.get().name}")
    except (webbrowser.Error, AttributeError):
        print("browser     none found: copy the address that JupyterLab prints into one, here or on another machine")
    return problems


def _numbers(version: str) -> list[int]:
    """"2.14.1+cpu" -> [2, 14, 1]."""
    return [int(number) for number in re.findall(r"\d+", version.partition("+")[0])]


def hardware() -> list[str]:
    """Disk, memory, threads; what is too small."""
    import torch

    from .checkpoints import DATA
    from .datasets import storage

    problems = []
    free = shutil.disk_usage(Path(__file__).resolve().parent.parent).free / 2**30
    memory = installed_memory()
    print(f"free disk   {free:.0f} GiB\nmemory      {f'{memory:.0f} GiB' if memory else 'unknown'}\n"
          f"threads     {torch.get_num_threads()}")
    if (busy := load()) > torch.get_num_threads() / 2:
        print(f"            other programs kept {busy:.1f} of them busy in the last minute: with those closed, the "
              "notebooks\n            run faster than said below")
    if free < 2:
        problems.append("less than 2 GiB of disk are free: CIFAR-10 needs about 0.6 GiB, unpacked and cached")
    if not storage.writable(DATA / "runs"):
        problems.append(f"nothing can be written to {DATA / 'runs'}, where your own trainings and results go")
    if memory and memory < 3.5:
        problems.append(f"{memory:.1f} GiB of memory are few: close other programs, or set COURSE_PROFILE=smoke")
    return problems


def load() -> float:
    """Threads that wanted a processor, mean of the last minute; 0 where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # Windows has none


def installed_memory() -> float | None:
    """GiB of memory in this machine; None where it does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def data(quick: bool) -> list[str]:
    """The banner, the roots, the sets, the mirrors; what keeps CIFAR-10 away."""
    from . import datasets, settings
    from .datasets import cifar, storage

    settings.setup()
    roots = [f"{root}{'' if root.is_dir() else ' (not made yet)'}" for root in storage.roots()]
    print("data roots  " + ", ".join(roots) + "\nsets        " + ", ".join(datasets.names()))
    if quick:
        return []
    with ThreadPoolExecutor(len(cifar.MIRRORS)) as pool:
        answers = dict(zip(cifar.MIRRORS, pool.map(reachable, cifar.MIRRORS), strict=True))
    for url, answer in answers.items():
        print(f"mirror      {url.split('/')[2]}: {answer or 'ready'}")
    if all(answers.values()) and not cifar.on_disk():
        return ["no mirror of CIFAR-10 can be reached, and there is no copy: bring cifar10.zip and set COURSE_DATA, or "
                "go without (the notebooks then run on the embedded set 'scenes', and say so)"]
    return []


def reachable(url: str) -> str | None:
    """None where the server would send this file, else what is in the way."""
    import requests

    try:
        with requests.get(url, headers={"Range": "bytes=0-0"}, stream=True, timeout=5) as answer:
            return None if answer.ok else f"answers {answer.status_code}"
    except requests.RequestException as error:
        return type(error).__name__


def speed(seconds: float = SECONDS) -> float:
    """Images per second of SimCLR training with the laptop encoder, 32 px, batch 128, measured for so long."""
    import torch

    from . import encoders, methods, settings, training
    from .datasets.imageset import ImageSet
    from .experiments.pretrain import contrastive_views

    encoder = encoders.resnet10("fast")
    method = methods.SimCLR(encoder, augment=contrastive_views(32), head=encoders.projection_head(encoder.feature_dim))
    method.to(settings.choose_device(os.environ.get("COURSE_DEVICE")))
    images = torch.randint(0, 256, (256, 3, 32, 32), dtype=torch.uint8)
    noise = ImageSet(images, torch.zeros(256, dtype=torch.int64), ("noise",), "noise", "made by the doctor")
    one_pass = dict(epochs=1, batch_size=128, lr=0.01)
    training.fit(method, noise, **one_pass)  # warms up
    done, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        training.fit(method, noise, **one_pass)
        done += len(noise)
    return done / passed


def speed_lines(images_per_second: float) -> list[str]:
    """The measured speed, and the minutes of each notebook whose time was measured (`benchmarks/notebooks.py`)."""
    from . import scoreboard

    lines = [f"speed       {images_per_second:,.0f} images/s of SimCLR training"]
    measured = scoreboard.SHIPPED / "notebook-minutes.json"
    if measured.exists():
        there = json.loads(measured.read_text(encoding="utf-8"))
        slower = there["settings"]["images_per_second"] / images_per_second
        lines += [f"            {row['notebook']}: about {math.ceil(row['value'] * slower)} min from top to bottom, "
                  f"{there['profile']} profile" for row in there["rows"]]
    return lines
