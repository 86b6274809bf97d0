"""kNN search against faiss: 10,000 queries, a bank of 50,000, 256 dimensions, k = 20. Run on an idle machine.

python benchmarks/knn.py   prints a Markdown table; the ratio is of medians of interleaved repeats in this one run.
"""

from __future__ import annotations

import resource
import statistics
import time

import torch

from course_utils.checkpoints import machine
from course_utils.evaluation import nearest_neighbors

REPEATS, K = 5, 20


def main() -> None:
    import faiss

    generator = torch.Generator().manual_seed(0)
    bank, query = (torch.nn.functional.normalize(torch.randn(n, 256, generator=generator)) for n in (50_000, 10_000))

    def ours() -> torch.Tensor:
        return nearest_neighbors(query, bank, K)[1]

    def theirs() -> torch.Tensor:
        index = faiss.IndexFlatIP(256)
        index.add(bank.numpy())
        return torch.from_numpy(index.search(query.numpy(), K)[1])

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours()
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    seconds = {ours: [], theirs: []}
    for _ in range(REPEATS):
        for search in seconds:
            start = time.perf_counter()
            search()
            seconds[search].append(time.perf_counter() - start)
    agree = (ours() == theirs()).float().mean().item()
    a, b = (statistics.median(times) for times in seconds.values())
    print(f"{machine()}, {torch.get_num_threads()} threads\n\n| search | seconds | ratio |\n|---|---|---|")
    print(f"| course_utils | {a:.2f} | {a / b:.2f} |\n| faiss IndexFlatIP | {b:.2f} | 1 |\n")
    print(f"same neighbours: {agree:.4%}; peak memory over the features: {extra:.0f} MiB")


if __name__ == "__main__":
    main()
