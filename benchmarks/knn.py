"""kNN search against faiss and scikit-learn: 10,000 queries, a bank of 50,000, 256 dimensions, k = 20.

    python benchmarks/knn.py [--queries 10000] [--bank 50000] [--repeats 5]

Prints a Markdown table; ratios are of medians of interleaved repeats in this one run. Run on an idle machine.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import torch

from course_utils.checkpoints import machine
from course_utils.evaluation import nearest_neighbors

K, D = 20, 256


def main() -> None:
    import faiss
    from sklearn.neighbors import NearestNeighbors

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--bank", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    bank, query = (torch.nn.functional.normalize(torch.randn(n, D, generator=generator))
                   for n in (args.bank, args.queries))

    def ours() -> torch.Tensor:
        return nearest_neighbors(query, bank, K)[1]

    def of_faiss() -> torch.Tensor:
        index = faiss.IndexFlatIP(D)
        index.add(bank.numpy())
        return torch.from_numpy(index.search(query.numpy(), K)[1])

    def of_sklearn() -> torch.Tensor:  # Euclidean distance ranks unit vectors as the cosine does, and is faster there
        search = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(bank.numpy())
        return torch.from_numpy(search.kneighbors(query.numpy(), return_distance=False))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours()
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    searches = {"course_utils": ours, "faiss IndexFlatIP": of_faiss, "scikit-learn, brute force": of_sklearn}
    seconds = {name: [] for name in searches}
    for _ in range(args.repeats):
        for name, search in searches.items():
            start = time.perf_counter()
            search()
            seconds[name].append(time.perf_counter() - start)
    mine, medians = ours(), {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{machine()}, {torch.get_num_threads()} threads\n\n| search | seconds | time of ours against it | "
          f"same neighbours |\n|---|---|---|---|")
    for name, median in medians.items():
        agree = (mine == searches[name]()).float().mean().item()
        print(f"| {name} | {median:.2f} | {medians['course_utils'] / median:.2f} | {agree:.3%} |")
    print(f"\npeak memory over the features: {extra:.0f} MiB")


if __name__ == "__main__":
    main()
