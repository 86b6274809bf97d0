"""The command line: python -m course_utils doctor | data NAME | pretrain METHOD DATASET | experiment NAME | results."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack, redirect_stdout


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m course_utils", description=__doc__.split(": ", 1)[0] + ".")
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser("doctor", help="look at this machine: is everything there that the notebooks need?")
    doctor.add_argument("--quick", action="store_true", help="without the network, and without measuring the speed")
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
        print(f"{options.command}: {error}", file=sys.stderr, flush=True)
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            sys.stdout.flush()
            os._exit(1)  # an orderly end would wait for processes that are gone, and be taken for the culprit
        return 1


def examine(options: argparse.Namespace) -> int:
    """Exit status 1 where something is missing that the notebooks need."""
    from . import doctor

    return bool(doctor.examine(options.quick))


def fetch(options: argparse.Namespace) -> int:
    from . import datasets

    for split in ("train", "test"):
        print(datasets.load(options.name, split))
    return 0


def train(options: argparse.Namespace) -> int:
    """Alone, or as one of the processes that torchrun started, of which only the first speaks."""
    from . import checkpoints, distributed, settings
    from .experiments.pretrain import pretrain

    with distributed.group(), ExitStack() as silence:
        if distributed.rank():
            silence.enter_context(redirect_stdout(silence.enter_context(open(os.devnull, "w"))))
        course = settings.setup(options.seed)
        folder = checkpoints.SHIPPED if options.ship else checkpoints.own(course.profile)
        path = pretrain(course, options.method, options.dataset, seed=options.seed,
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


COMMANDS = {"doctor": examine, "data": fetch, "pretrain": train, "experiment": measure, "results": results}

if __name__ == "__main__":
    sys.exit(main())
