"""Real faults in a training: SIGKILL at ten random moments, a full disk, files that are no checkpoints."""

import json
import os
import pickle
import resource
import subprocess
import sys

import pytest
import torch

from course_utils import augment, encoders
from course_utils.datasets.imageset import ImageSet
from course_utils.methods import MoCo, SimCLR
from course_utils.training import fit

KILLS = """
import json, os, random, signal, sys, time
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_killed import train

def child(path):  # forked before anything was computed, so that it costs no start of Python
    pid = os.fork()
    if pid == 0:
        train(path)
        os._exit(0)
    return pid

random.seed(0)
started = time.monotonic()
os.waitpid(child(sys.argv[2] + "/undisturbed.pt"), 0)
whole, epochs = time.monotonic() - started, []
for _ in range(10):
    pid = child(sys.argv[2] + "/killed.pt")
    time.sleep(random.uniform(0, 0.4) * whole)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    there = os.path.exists(sys.argv[2] + "/killed.pt")
    epochs.append(len(torch.load(sys.argv[2] + "/killed.pt", weights_only=True)["history"]) if there else 0)
os.waitpid(child(sys.argv[2] + "/killed.pt"), 0)
for pid in [child(sys.argv[2] + "/shared.pt") for _ in range(2)]:  # two notebooks with one checkpoint, at once
    assert os.waitpid(pid, 0)[1] == 0
print(json.dumps(epochs))
"""
EPOCHS = 8


def make(temperature=0.2, width=4, noise=0.1, kind=SimCLR):
    torch.manual_seed(1)
    encoder = encoders.resnet10(width=width)
    head = encoders.projection_head(encoder.feature_dim, 6)
    return kind(encoder, augment=augment.GaussianNoise((0.0, noise)), head=head, temperature=temperature)


def train(path, epochs=EPOCHS, on_epoch=None, **settings):
    generator = torch.Generator().manual_seed(0)
    data = ImageSet(torch.randint(0, 256, (32, 3, 16, 16), dtype=torch.uint8, generator=generator),
                    torch.zeros(32, dtype=torch.int64), ("noise",), "noise", "made by this test")
    return fit(make(**settings), data, epochs=epochs, batch_size=8, lr=0.05, checkpoint=path, on_epoch=on_epoch)


def cut_off_in_the_second_epoch(path):
    def stop(epoch, _):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(path, on_epoch=stop)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_training_killed_ten_times_ends_as_an_undisturbed_one(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLS, os.path.dirname(__file__), tmp_path], capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    epochs = json.loads(done.stdout.splitlines()[-1])
    assert epochs == sorted(epochs) and len(epochs) == 10  # what was reached is never lost
    assert any(0 < epoch < EPOCHS for epoch in epochs)  # and some of it was reached by then
    undisturbed = torch.load(tmp_path / "undisturbed.pt", weights_only=True)
    for name in ("killed", "shared"):  # and two trainings at once do not disturb each other
        found = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        assert len(found["history"]) == EPOCHS
        assert [row["loss"] for row in found["history"]] == [row["loss"] for row in undisturbed["history"]]
        assert all(torch.equal(found["method"][key], value) for key, value in undisturbed["method"].items())


def test_a_disk_that_is_really_full_keeps_the_checkpoint_before(tmp_path):
    path = tmp_path / "run.pt"
    cut_off_in_the_second_epoch(path)
    before, (soft, hard) = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))  # no file may grow beyond half of it
    try:
        with pytest.raises(OSError, match=r"could not write the checkpoint .*run\.pt .*the one before it is kept"):
            train(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["run.pt"]
    assert len(train(path).rows) == EPOCHS


def test_a_read_only_folder_keeps_the_checkpoint_before(read_only):
    path = read_only.folder / "run.pt"
    cut_off_in_the_second_epoch(path)
    before = path.read_bytes()
    with read_only(), pytest.raises(OSError, match=r"could not write the checkpoint .*run\.pt .*one before it is kept"):
        train(path)
    assert path.read_bytes() == before and os.listdir(read_only.folder) == ["run.pt"]


def test_a_place_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"could not write the checkpoint .*file/run\.pt"):
        train(tmp_path / "file" / "run.pt", epochs=1)


# --- files that are no checkpoints of this training -----------------------------------------------------

class Malice:
    def __reduce__(self):
        return os.mkdir, (Malice.folder,)


def empty(path):
    path.write_bytes(b"")


def a_web_page(path):
    path.write_text("<html>please log in</html>")


def cut(path):
    train(path, epochs=1)
    path.write_bytes(path.read_bytes()[:-2000])


def flipped(path):
    train(path, epochs=1)
    content = bytearray(path.read_bytes())
    content[:400] = bytes(400)
    path.write_bytes(content)


def of_another_kind(path):
    torch.save({"weights": torch.ones(3)}, path)


def a_pickle(path):
    path.write_bytes(pickle.dumps({"config": Malice(), "history": []}))


def a_pickle_in_disguise(path):
    torch.save({"config": Malice(), "history": []}, path)


@pytest.mark.parametrize("damage", [empty, a_web_page, cut, flipped, of_another_kind, a_pickle, a_pickle_in_disguise])
def test_what_is_no_checkpoint_is_refused_by_name_and_left_alone(tmp_path, damage):
    Malice.folder, path = str(tmp_path / "ran"), tmp_path / "run.pt"
    damage(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"run\.pt is no checkpoint of a training, or a damaged one .*Delete it"):
        train(path, epochs=1)
    assert path.read_bytes() == before and not (tmp_path / "ran").exists()


def test_weights_of_other_shapes_are_refused_by_name(tmp_path):
    train(tmp_path / "run.pt", epochs=1)
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    saved["method"]["head.2.weight"] = torch.ones(7, 32)
    torch.save(saved, tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"run\.pt does not fit this SimCLR: (?s:.)*head\.2\.weight(?s:.)*Delete it"):
        train(tmp_path / "run.pt", epochs=1)


def test_momenta_of_other_shapes_and_parts_of_another_kind_are_refused_by_name(tmp_path):
    def damage(change):
        train(tmp_path / "run.pt", epochs=1)
        saved = torch.load(tmp_path / "run.pt", weights_only=True)
        change(saved)
        torch.save(saved, tmp_path / "run.pt")
        with pytest.raises(ValueError, match=r"run\.pt (does not fit this SimCLR|is no checkpoint)(?s:.)*Delete it"):
            train(tmp_path / "run.pt", epochs=1)
        (tmp_path / "run.pt").unlink()

    damage(lambda saved: saved["optimizer"]["state"][0].update(momentum_buffer=torch.ones(7)))
    damage(lambda saved: saved.update(method=None))
    damage(lambda saved: saved.update(optimizer=3))
    damage(lambda saved: saved.update(history=["epoch"]))


@pytest.mark.parametrize(("other", "said"), [
    (dict(temperature=0.5), "temperature=0.2, micro_batch=None there, temperature=0.5, micro_batch=None here"),
    (dict(noise=0.2), r"std=\(0.0, 0.1\), p=1.0\) there, .*std=\(0.0, 0.2\)"),
    (dict(width=6), "Conv2d.* there, .*Conv2d.* here"),
    (dict(kind=MoCo), "method: SimCLR there, MoCo here"),
])
def test_a_checkpoint_of_another_loss_view_or_encoder_is_refused(tmp_path, other, said):
    train(tmp_path / "run.pt", epochs=1)
    with pytest.raises(ValueError, match=f"written with other settings .*{said}"):
        train(tmp_path / "run.pt", epochs=1, **other)


def test_a_checkpoint_from_before_a_setting_existed_still_resumes(tmp_path):
    cut_off_in_the_second_epoch(tmp_path / "run.pt")
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    for key in ("parts", "schedule"):
        del saved["config"][key]
    torch.save(saved, tmp_path / "run.pt")
    assert len(train(tmp_path / "run.pt").rows) == EPOCHS
