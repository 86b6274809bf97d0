"""The benchmarks that need no other library still run: every axis of growth, and the day of the GPU, in miniature."""

from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def path(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


def test_growth_is_measured_and_drawn_along_every_axis(tmp_path):
    import growth

    found = {axis: {value: growth.measure(axis, value, "cpu", True) for value in values}
             for axis, values in growth.QUICK.items()}
    points = [point for axis in found.values() for point in axis.values()]
    assert len(points) == 10 and all(point["ms per image"] > 0 and point["peak MiB"] >= 0 for point in points)
    growth.draw(found, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["simclr", "moco", "rotation"])
def test_the_gpu_check_measures_a_method(name):
    import gpu_check

    found = gpu_check.measure(name, 8, 2, torch.device("cpu"), "laptop")
    assert found["images/s"] > 1 and found["minutes"] == pytest.approx(100 * 50_000 / found["images/s"] / 60)
    assert found["GiB"] is None and found["share"] is None  # nothing is claimed of a GPU that is not here


def test_the_time_to_an_accuracy_is_interpolated():
    import time_to_accuracy

    seconds_to = time_to_accuracy.seconds_to
    assert seconds_to(0.3, [10, 10, 10], [0.2, 0.4, 0.5]) == pytest.approx(15)
    assert seconds_to(0.2, [10, 10], [0.2, 0.4]) == 10 and seconds_to(0.5, [10, 10], [0.2, 0.4]) is None


def test_times_to_an_accuracy_are_compared_on_the_mean_of_the_seeds(tmp_path):
    import time_to_accuracy

    def run(ours, lightly):  # an epoch takes 1 and 2 seconds
        return {"ours": [1.0, 1.0], "lightly": [2.0, 2.0]}, {"ours": ours, "lightly": lightly}

    alike = [run([0.2, 0.4], [0.2, 0.4]), run([0.3, 0.5], [0.3, 0.5])]
    assert time_to_accuracy.ratio(alike, None) == (pytest.approx(0.45), {"ours": 2.0, "lightly": 4.0})
    assert time_to_accuracy.interval(alike, None, draws=50) == (0.5, 0.5)
    never = time_to_accuracy.ratio([run([0.2, 0.6], [0.2, 0.4])], 0.5)
    assert never[1] == {"ours": pytest.approx(1.75), "lightly": float("inf")}
    time_to_accuracy.draw(alike, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
