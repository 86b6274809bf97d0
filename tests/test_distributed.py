"""Two processes under `torchrun` against one: losses, gradients, queues; a killed process; resuming."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import distributed_run
import pytest
import torch
from distributed_run import METHODS

from course_utils import checkpoints, distributed, training


def launch(mode, folder, *, torchrun=False):
    """The script in two processes: (the worst exit status, what the last one complained)."""
    script = [str(Path(distributed_run.__file__)), mode, str(folder)]
    if torchrun:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300,
                              env=os.environ | {"COURSE_DEVICE": "cpu"})
        return done.returncode, done.stderr
    with socket.socket() as free:  # what torchrun does, without the start of a third Python
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                                "COURSE_DEVICE": "cpu"}  # also where GPUs are: what is compared is gloo's
    processes = [subprocess.Popen([sys.executable, *script], env=environment | {"RANK": str(rank)}, text=True,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for rank in range(2)]
    complaints = [process.communicate(timeout=300)[1] for process in processes]
    return max(abs(process.returncode) for process in processes), complaints[-1]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What one process found, and what two did."""
    folder = tmp_path_factory.mktemp("found")
    status, complained = launch("check", folder)
    assert status == 0, complained[-3000:]
    return [{name: distributed_run.step(name) for name in METHODS}, torch.load(folder / "check.pt", weights_only=True)]


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
    status, complained = launch("kill", tmp_path, torchrun=True)
    assert status != 0 and "SIGKILL" in complained  # torchrun names the process and the signal
    killed = (tmp_path / "killed").stat().st_mtime
    assert time.time() - killed < 30  # a few seconds on a quiet machine
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    assert [row["epoch"] for row in saved["history"]] == [1, 2]
    status, complained = launch("train", tmp_path)
    assert status == 0, complained[-3000:]
    resumed, undisturbed = torch.load(tmp_path / "train.pt", weights_only=True), found[1]["undisturbed"]
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


COMMAND_LINE = """
import sys
from pathlib import Path
from course_utils import __main__, checkpoints
checkpoints.DATA = Path(sys.argv[1])
checkpoints.OWN = checkpoints.DATA / "runs" / "checkpoints"
sys.exit(__main__.main(sys.argv[2:]))
"""


@pytest.mark.parametrize("method", ["simclr", "moco"])
def test_two_processes_pretrain_by_the_command_line_and_the_first_alone_writes(method, tmp_path):
    script = tmp_path / "course.py"
    script.write_text(COMMAND_LINE)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script),
               str(tmp_path), "pretrain", method, "scenes"]
    settings = {"COURSE_PROFILE": "smoke", "COURSE_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("wrote ") == done.stdout.count("profile  smoke") == 1
    files = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "runs").rglob("*") if path.is_file())
    assert files == [f"runs/smoke-checkpoints/{method}-scenes.{kind}" for kind in ("json", "safetensors")]
    assert checkpoints.load(f"{method}-scenes", tmp_path / "runs" / "smoke-checkpoints").card["processes"] == 2


def test_a_gpu_by_number_is_refused_under_torchrun(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("COURSE_DEVICE", "cuda:1")
    with pytest.raises(ValueError, match="each process has its own GPU"), distributed.group():
        pass
