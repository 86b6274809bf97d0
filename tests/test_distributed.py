"""Two processes under `torchrun` against one: losses, gradients, queues; a killed process; resuming."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from course_utils import distributed, training

SCRIPT = Path(__file__).parent / "scripts" / "distributed_run.py"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
METHODS = ("supervised", "rotation", "semi-hard", "hard", "simclr", "pieces", "moco", "moco v1")


def launch(mode, folder, *runner):
    return subprocess.run([sys.executable, *runner, SCRIPT, mode, folder], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What one process found, and what two did."""
    folder = tmp_path_factory.mktemp("found")
    for runner in ((), TORCHRUN):
        done = launch("check", folder, *runner)
        assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"check-{n}.pt", weights_only=True) for n in (1, 2)]


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_have_the_loss_and_gradients_of_the_global_batch(found, name):
    one, two = found[0][name], found[1][name]
    assert one.keys() == two.keys() and len(one) > 4
    for key in one:
        assert torch.allclose(two[key], one[key], atol=1e-5, rtol=1e-5), key
    assert all(one[key].abs().sum() > 0 for key in one if key != "queues differ")


@pytest.mark.parametrize("name", ["moco", "moco v1"])
def test_all_processes_have_one_queue_and_all_keys_are_in_it(found, name):
    assert found[1][name]["queues differ"] == 0
    assert torch.allclose(found[1][name]["queue"], found[0][name]["queue"], atol=1e-6)


def test_each_process_has_views_of_its_own(found):
    assert found[1]["views"] > 0.1


def test_a_killed_process_ends_the_job_and_the_rest_resumes_bit_for_bit(found, tmp_path):
    started = time.monotonic()
    done = launch("kill", tmp_path, *TORCHRUN)
    took = time.monotonic() - started
    assert done.returncode != 0 and "SIGKILL" in done.stderr  # torchrun names the process and the signal
    assert took < 120  # seconds after the kill; the rest is the start of three Pythons on a busy machine
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    assert [row["epoch"] for row in saved["history"]] == [1, 2]
    done = launch("train", tmp_path, *TORCHRUN)
    assert done.returncode == 0, done.stderr[-3000:]
    resumed, undisturbed = torch.load(tmp_path / "train-2.pt", weights_only=True), found[1]["undisturbed"]
    assert resumed["loss"] == undisturbed["loss"]
    assert all(torch.equal(resumed["weights"][key], value) for key, value in undisturbed["weights"].items())


def test_alone_nothing_is_asked_of_anyone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    x = torch.rand(3, 2)
    with distributed.group():
        assert (distributed.rank(), distributed.world()) == (0, 1)
        assert distributed.share(x) is not None and torch.equal(distributed.share(x), x)
        assert distributed.gather(x) is x and distributed.of_first(x) is x
        assert distributed.first_alone(lambda: 5) == 5
        before = x.clone()
        distributed.average([x])
        assert torch.equal(x, before)


def test_a_batch_that_cannot_be_shared_and_a_lost_process_are_explained(monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: 2)
    with pytest.raises(ValueError, match="a batch of 3 cannot be shared by 2 processes"):
        distributed.share(torch.rand(3, 2))

    def lost(*_):
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(distributed.dist, "all_reduce", lost)
    with pytest.raises(RuntimeError, match="another process of this .* has ended.*last checkpoint is whole.*peer"):
        distributed.average([torch.rand(2)])


def test_the_clock_of_a_budget_is_the_first_processs(monkeypatch):
    monkeypatch.setattr(distributed, "of_first", lambda value: 0.25)
    assert training._Clock(1.0, spent=59).fraction == 0.25 and training._Clock(None, spent=59).fraction == 0
