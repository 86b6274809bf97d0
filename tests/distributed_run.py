"""Run by tests/test_distributed.py in two processes: MODE FOLDER. The first process writes FOLDER/MODE.pt.

"check": one step of each method without BatchNorm. "train", "kill": `fit`, in which "kill" ends the last process.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from course_utils import augment, distributed, encoders, methods, training
from course_utils.datasets.imageset import ImageSet

METHODS = ("supervised", "rotation", "semi-hard", "hard", "simclr", "pieces", "moco", "moco v1")


class Plain(nn.Module):
    """An encoder without BatchNorm."""

    feature_dim = 8

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)

    def forward(self, x):
        return self.conv(x).tanh().mean((2, 3))


class Mirror(nn.Module):
    """A view without chance: the image, then its darkened mirror image, and so on in turn."""

    turn = 0

    def forward(self, x):
        self.turn += 1
        return x if self.turn % 2 else 0.7 * x.flip(3)


def make(name, encoder=Plain, views=Mirror):
    torch.manual_seed(1)
    encoder = encoder()
    head = encoders.projection_head(encoder.feature_dim, 6)
    contrast = dict(augment=views(), head=head)
    return {"supervised": lambda: methods.Supervised(encoder, 4),
            "rotation": lambda: methods.RotationPrediction(encoder),
            "semi-hard": lambda: methods.TripletNetwork(encoder, **contrast, mining="semi-hard"),
            "hard": lambda: methods.TripletNetwork(encoder, **contrast, mining="hard"),
            "simclr": lambda: methods.SimCLR(encoder, **contrast),
            "pieces": lambda: methods.SimCLR(encoder, **contrast, micro_batch=3),
            "moco": lambda: methods.MoCo(encoder, **contrast, queue_length=20),
            "moco v1": lambda: methods.MoCo(encoder, **contrast, queue_length=20, split_bn=2, symmetric=True)}[name]()


def step(name):
    """Loss, gradients and queue of one step on this process's share of eight images; whether all have one queue."""
    generator = torch.Generator().manual_seed(2)
    images, labels = torch.rand(8, 3, 8, 8, generator=generator), torch.arange(8) % 4
    method = make(name)
    loss = method(distributed.share(images), distributed.share(labels))
    loss.backward()
    found = {"loss": loss.detach()} | {key: p.grad for key, p in method.named_parameters() if p.requires_grad}
    distributed.average(found.values())
    if hasattr(method, "queue"):
        found["queue"] = method.queue
        found["queues differ"] = between(method.queue)
    return found


def between(tensor):
    """How far the first and the last process are apart."""
    both = distributed.gather(tensor[None])
    return (both[0] - both[-1]).abs().max()


def views_differ():
    """How far apart two processes' views of a grey image are, drawn as `fit` draws them; nothing for one process."""
    seen = []

    class Watch(nn.Module):
        def forward(self, x):
            seen.append(augment.GaussianNoise((0.5, 0.5))(torch.full_like(x, 0.5)))
            return seen[-1] + 0 * x

    train("views", epochs=1, views=Watch, n=8)
    return between(seen[0])


def train(mode, folder=None, epochs=4, views=lambda: augment.GaussianNoise((0.0, 0.1)), n=24):
    generator = torch.Generator().manual_seed(0)
    data = ImageSet(torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8, generator=generator),
                    torch.zeros(n, dtype=torch.int64), ("noise",), "noise", "made by this script")
    method = make("moco", lambda: encoders.resnet10(width=4), views)
    last = distributed.rank() == distributed.world() - 1
    seen = []
    real = training._step

    def step(*arguments):
        seen.append(1)
        if mode == "kill" and last and len(seen) == 8:  # in the third epoch of three steps each
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)

    training._step = step
    history = training.fit(method, data, epochs=epochs, batch_size=8, lr=0.05, seed=3,
                           checkpoint=folder and folder / "run.pt")
    training._step = real
    return {"weights": method.state_dict(), "loss": history.loss}


def check():
    return {name: step(name) for name in METHODS} | {"views": views_differ(), "undisturbed": train("check")}


if __name__ == "__main__":
    mode, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    with distributed.group():
        found = check() if mode == "check" else train(mode, folder)
        if distributed.rank() == 0:
            torch.save(found, folder / f"{mode}.pt")
