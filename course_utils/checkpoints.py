"""Trained encoders as safetensors files with a JSON card beside them; no pickle is ever loaded.

Shipped checkpoints live in data/checkpoints, a student's own in data/runs/checkpoints (ignored by git). Names are
`<method>-<dataset>` (simclr-cifar10), snapshots `<name>@epoch<NN>`. What ships is the last epoch, never the best.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as unpack
from safetensors.torch import save as pack
from torch import nn

from . import encoders
from .files import whole_file

DATA = Path(__file__).resolve().parent.parent / "data"
SHIPPED, OWN = DATA / "checkpoints", DATA / "runs" / "checkpoints"


def own(profile: str) -> Path:
    """Where a student's own checkpoints go; those of the smoke profile, which are no results, go elsewhere."""
    return DATA / "runs" / "smoke-checkpoints" if profile == "smoke" else OWN


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or not what its card says."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained encoder with its head (both in eval mode, on the CPU) and the card that says how it came about."""

    encoder: nn.Module
    head: nn.Module
    card: dict


def save(method: nn.Module, name: str, card: dict, folder: str | Path = OWN) -> Path:
    """Write `method`'s encoder and head as `<folder>/<name>.safetensors` (weights float16) and `<name>.json`.

    card: dataset, source, config, seed, minutes, metrics, …; the encoder's and head's configs, the machine, the date
    and the digest of the weights are added. Returns the path of the weights. Raises OSError, and keeps what was there,
    where the disk is full or the folder read-only.
    """
    folder = Path(folder)
    # Weights keep 11 bits, which no accuracy here can tell; statistics stay float32: a small variance would not fit.
    parameters = {key for key, _ in method.named_parameters()}
    tensors = {key: value.detach().cpu().to(torch.float16 if key in parameters else value.dtype).contiguous()
               for key, value in method.state_dict().items() if key.startswith(("encoder.", "head."))}
    card = {"name": name, "method": method.name, **card, "encoder": method.encoder.config, "head": method.head.config,
            "machine": machine(), "date": date.today().isoformat()}
    weights = pack(tensors)
    card["weights"] = digest(weights)  # two files cannot be written at once: this tells whether they belong together
    path = folder / f"{name}.safetensors"
    text = _card_text(card)
    try:
        with whole_file(path.with_suffix(".json")) as beside, whole_file(path) as temporary:  # both there, then renamed
            temporary.write_bytes(weights)
            beside.write_bytes(text)
    except OSError as error:
        raise OSError(f"could not write the checkpoint {path} ({error}); the one before it, if any, is kept. "
                      "Free some disk, or take a folder that can be written") from error
    return path


def amend(name: str, folder: str | Path, **entries) -> None:
    """Add to the card of a checkpoint what was not known when it was saved."""
    path = Path(folder) / f"{name}.safetensors"
    _, card = _read(path)
    with whole_file(path.with_suffix(".json")) as temporary:
        temporary.write_bytes(_card_text(card | entries))


def _card_text(card: dict) -> bytes:
    return (json.dumps(card, indent=1) + "\n").encode()


def digest(weights: bytes) -> str:
    """What tells the content of one file of weights from another's."""
    return hashlib.sha256(weights).hexdigest()[:16]


def there(name: str, folder: str | Path) -> bool:
    """Whether `folder` holds the weights of this name and their own card, not those of a run killed between the two."""
    path = Path(folder) / f"{name}.safetensors"
    try:
        _read(path)
    except (OSError, ValueError):
        return False
    return True


def _read(path: Path) -> tuple[bytes, dict]:
    """A file of weights and its card; ValueError where the card is none, or another file's."""
    weights, card = path.read_bytes(), json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    if not isinstance(card, dict) or ("weights" in card and card["weights"] != digest(weights)):
        raise ValueError(f"{path.with_suffix('.json').name} is not the card of these weights")
    return weights, card


def load(name: str, folder: str | Path | None = None) -> Checkpoint:
    """The checkpoint `name`, from `folder`, or from the shipped ones, then the student's own.

    Raises CheckpointError, with what to do, where it is missing, unreadable or does not fit its card.
    """
    folders = [Path(folder)] if folder else [SHIPPED, OWN]
    path = next((f / f"{name}.safetensors" for f in folders if (f / f"{name}.safetensors").exists()), None)
    if path is None:
        known = available() if folder is None else _names(Path(folder))
        raise CheckpointError(f"no checkpoint {name!r}; there are: {', '.join(known) or 'none'}. Train your own with: "
                              f"python -m course_utils pretrain {name.split('@')[0].replace('-', ' ', 1)}")
    try:
        weights, card = _read(path)
        encoder = encoders.build(card["encoder"])
        head = encoders.projection_head(**card["head"])
        tensors = {key: value.float() if value.dtype == torch.float16 else value
                   for key, value in unpack(weights).items()}
        nn.ModuleDict({"encoder": encoder, "head": head}).load_state_dict(tensors)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"the checkpoint {path} cannot be used: {error}. If it was shipped with the course, "
                              f"restore it with: git checkout -- {path} {path.with_suffix('.json')}; "
                              f"else delete it and train again") from error
    return Checkpoint(encoder.eval(), head.eval(), card)


def available() -> list[str]:
    """The names of all checkpoints at hand, shipped and own."""
    return sorted({name for folder in (SHIPPED, OWN) for name in _names(folder)})


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.safetensors"))


def machine() -> str:
    """The machine in a few words, for cards and result files: processor, cores, accelerator."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        models = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")]
        name = models[0] if models else name
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}, {os.cpu_count()} cores{gpu}, torch {torch.__version__.split('+')[0]}"
