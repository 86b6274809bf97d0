"""Views per second of the SimCLR augmentation at 32 px (crop, flip, jitter, grey), ours against others'.

    python benchmarks/augment.py [--batch 256] [--size 32] [--repeats 15] [--threads 2] [--device cpu] [--compile]

Contenders take turns within one run, so that whatever else the machine does hits all of them; the table gives medians
and their ratios. Peers that are not installed are left out (`pip install -e .[peers]`). lightly and torchvision get
the images in the form in which their data loaders would: PIL images and single tensors, without the cost of loading.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_utils import augment


def contenders(x: Tensor, size: int, compiled: bool) -> dict[str, Callable[[], object]]:
    """Name -> a call that makes one view of every image in x (lightly's makes two of every second image)."""
    ours, singles = augment.simclr_augment(size)[:4], [image.cpu() for image in x]  # [:4]: no blur, at any size
    calls = {"ours, eager": lambda: ours(x)}
    if compiled:
        fast = torch.compile(ours, fullgraph=True)
        calls["ours, compiled"] = lambda: fast(x)
    if importlib.util.find_spec("kornia"):
        import kornia.augmentation as K

        kornia = nn.Sequential(K.RandomResizedCrop((size, size), scale=(0.08, 1.0)), K.RandomHorizontalFlip(),
                               K.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8), K.RandomGrayscale(p=0.2))
        calls["kornia, batched"] = lambda: kornia(x)
    if importlib.util.find_spec("lightly"):
        from lightly.transforms import SimCLRTransform
        from torchvision.transforms.v2.functional import to_pil_image

        lightly = SimCLRTransform(input_size=size, gaussian_blur=0.0, normalize=None)
        pil = [to_pil_image(image) for image in singles[::2]]
        calls["lightly, per image"] = lambda: [lightly(image) for image in pil]
    if importlib.util.find_spec("torchvision"):
        from torchvision.transforms import v2

        single = v2.Compose([v2.RandomResizedCrop(size, antialias=False), v2.RandomHorizontalFlip(),
                             v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8), v2.RandomGrayscale(0.2)])
        calls["torchvision v2, per image"] = lambda: torch.stack([single(image) for image in singles])
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256, help="images per batch, even")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="also time torch.compile (half a minute to compile)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    x = torch.rand(args.batch, 3, args.size, args.size, device=args.device)
    calls = contenders(x, args.size, args.compile)

    def seconds(call: Callable[[], object]) -> float:
        start = time.perf_counter()
        call()
        if x.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    for call in calls.values():
        seconds(call), seconds(call)  # warm up
    times = {name: [] for name in calls}
    for _ in range(args.repeats):
        for name, call in calls.items():
            times[name].append(seconds(call))

    print(f"{args.batch} images, {args.size} px, {args.device}, {args.threads} threads, torch {torch.__version__}, "
          f"median of {args.repeats} interleaved repeats")
    print("|  | views/s | slowest–fastest | ours, eager is |\n|---|---|---|---|")
    reference = statistics.median(times["ours, eager"])
    for name, t in times.items():
        rate, ratio = args.batch / statistics.median(t), statistics.median(t) / reference
        print(f"| {name} | {rate:,.0f} | {args.batch / max(t):,.0f}–{args.batch / min(t):,.0f} | {ratio:.1f}× |")


if __name__ == "__main__":
    main()
