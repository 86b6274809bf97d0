"""lightly's SimCLR loop as its examples write it: PIL images, a DataLoader with workers, NTXentLoss, torch's SGD."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from course_utils.precision import autocast_dtype
from course_utils.training import learning_rate


class Pictures(Dataset):
    """uint8 images [N, 3, H, W] as the pairs of views that lightly makes of each (the views of `contrastive_views`)."""

    def __init__(self, images: Tensor):
        from lightly.transforms import SimCLRTransform

        self.arrays = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
        self.views = SimCLRTransform(input_size=images.shape[-1], cj_strength=0.5, min_scale=0.2, gaussian_blur=0.0,
                                     normalize=None)  # the encoder normalises

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, i: int) -> list[Tensor]:
        return self.views(Image.fromarray(self.arrays[i]))


def epochs(encoder: nn.Module, head: nn.Module, images: Tensor, *, count: int, batch: int, lr: float,
           temperature: float, workers: int, warmup: float = 0, weight_decay: float = 5e-4) -> Iterator[float]:
    """Trains encoder and head for `count` epochs, schedule and autocast as in `fit`; yields the seconds of each epoch.

    warmup: epochs of linear warm-up, before the cosine.
    """
    from lightly.loss import NTXentLoss

    device = next(encoder.parameters()).device
    model = nn.Sequential(encoder, head).to(memory_format=torch.channels_last)
    loader = DataLoader(Pictures(images), batch_size=batch, shuffle=True, drop_last=True, num_workers=workers,
                        persistent_workers=workers > 0, pin_memory=device.type == "cuda")
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=weight_decay, nesterov=True)
    steps, rise = count * len(loader), round(warmup * len(loader))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, steps, 1.0, rise))
    criterion, dtype = NTXentLoss(temperature), autocast_dtype(device)
    for _ in range(count):
        started, total = time.perf_counter(), 0.0
        model.train()
        for x0, x1 in loader:
            x0, x1 = (x.to(device, memory_format=torch.channels_last, non_blocking=True) for x in (x0, x1))
            with torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
                z0, z1 = model(x0), model(x1)
            loss = criterion(z0.float(), z1.float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach()
        float(total)  # waits for the device
        yield time.perf_counter() - started
