"""Experiments of notebook 07, with a narrow encoder on made-up images in place of CIFAR-10."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from course_utils import checkpoints, datasets, encoders, experiments, methods, scoreboard, training
from course_utils.experiments import (
    moco_bn,
    moco_memory,
    moco_momentum,
    moco_queue,
    moco_runs,
    moco_staleness,
    moco_versions,
)
from course_utils.experiments.runs import load_sets
from course_utils.settings import Course

SETS = {split: datasets.load("scenes", split, limit=n) for split, n in (("train", 64), ("val", 40), ("test", 40))}


@pytest.fixture(autouse=True)
def course(monkeypatch, tmp_path):
    """A smoke course, `cifar10` made of scenes, own files in a temporary folder, the encoder eight times narrower."""
    def load(name, split="train", *, limit=None, **_):
        return replace(SETS[split], name=name)

    real = encoders.resnet10
    monkeypatch.setattr(datasets, "load", load)
    monkeypatch.setattr(encoders, "resnet10", lambda stem="fast", width=4: real(stem, width))
    monkeypatch.setattr(checkpoints, "DATA", tmp_path)
    monkeypatch.setitem(moco_runs.DEFAULT, "queue_length", 48)
    return Course("smoke", torch.device("cpu"), torch.float32, 0)


@pytest.fixture
def one_seed(monkeypatch):
    for module in (moco_bn, moco_momentum, moco_queue, moco_versions, moco_runs):
        monkeypatch.setattr(module, "budget", lambda _: dict(epochs=1, batch_size=32, seeds=1))


def measured(name, course, folder):
    return scoreboard.table(name, experiments.run(name, course, folder).parent)


def test_helpers_are_no_experiments():
    assert {"moco-momentum", "moco-queue", "moco-versions", "moco-memory", "moco-staleness",
            "moco-bn"} <= set(experiments.names())
    assert not {"runs", "moco-runs"} & set(experiments.names())


# --- a run ----------------------------------------------------------------------------------------------

def settings_of(**variant):
    return {**moco_runs.DEFAULT, "seed": 0, "epochs": 2, "batch_size": 16, "lr": 0.06, **variant}


def test_every_setting_of_a_variant_reaches_the_method():
    method = moco_runs.build(settings_of(momentum=0.5, queue_length=7, temperature=0.3, split_bn=4), 32)
    assert (method.momentum, len(method.queue), method.temperature, method.split_bn) == (0.5, 7, 0.3, 4)
    assert isinstance(method.head, nn.Sequential)
    v1 = moco_runs.build(settings_of(**moco_versions.V1), 32)
    assert isinstance(v1.head, nn.Linear) and v1.temperature == 0.07
    assert str(v1.augment) != str(method.augment)
    simclr = moco_runs.build(settings_of(method="simclr"), 32)
    assert isinstance(simclr, methods.SimCLR)
    for a, b in zip(simclr.encoder.parameters(), method.encoder.parameters(), strict=True):
        assert torch.equal(a, b)  # the same seed starts from the same weights


def test_an_unknown_setting_is_refused(course):
    with pytest.raises(ValueError, match=r"unknown settings \['momentun'\]"):
        moco_runs.run_once(course, load_sets(course), 0, 0.1, momentun=0.9)


def test_a_run_writes_down_the_loss_of_each_step(course):
    found = moco_runs.measure_run(course, load_sets(course), settings_of())
    assert len(found["first losses"]) == 2 * 4 and len(found["epoch losses"]) == 2
    assert sum(found["first losses"][:4]) / 4 == pytest.approx(found["epoch losses"][0], abs=1e-3)
    assert all(0 <= found[key] <= 1 for key in ("linear probe", "kNN", "contrastive accuracy, train mode"))


def test_unshuffled_keys_share_their_piece_with_their_query():
    method = moco_runs.build(settings_of(split_bn=2, shuffle=False), 32)
    images = SETS["val"].float_images()[:8]
    usual = moco_runs.build(settings_of(), 32)  # the same first weights
    network = nn.Sequential(usual.key_encoder, usual.key_head).train()
    expected = torch.cat([network(piece) for piece in images.split(4)])
    assert torch.allclose(method.keys(images), nn.functional.normalize(expected, dim=1), atol=1e-6)
    shuffled = moco_runs.build(settings_of(split_bn=2), 32)
    assert (shuffled.keys(images) - method.keys(images)).abs().max() > 1e-3


def test_contrastive_accuracy_leaves_the_method_as_it_was():
    method = moco_runs.build(settings_of(), 32).train()
    method.head.eval()
    before = {key: value.clone() for key, value in method.state_dict().items()}
    moco_runs.pretext_accuracies(method, SETS["val"], 16)
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())
    assert method.training and method.encoder.training and not method.head.training


def test_step_decay_falls_to_a_tenth_twice():
    rates = [training.step_decay(step, 200, 1.0, warmup=10) for step in range(200)]
    assert rates[0] == 0.1 and rates[9:120] == [1.0] * 111 and rates[120:160] == [0.1] * 40
    assert rates[160:] == [0.01] * 40
    method = moco_runs.build(settings_of(), 32)
    history = training.fit(method, SETS["train"][:32], epochs=5, batch_size=16, lr=1e-3, schedule=training.step_decay)
    assert history.column("lr") == pytest.approx([1e-3, 1e-3, 1e-3, 1e-4, 1e-5])


# --- tables ---------------------------------------------------------------------------------------------

def test_the_momentum_table_has_probes_and_a_curve_of_first_steps(course, tmp_path):
    found = measured("moco-momentum", course, tmp_path)
    for m in moco_momentum.MOMENTA:
        row = scoreboard.select(found, momentum=m, quantity="linear probe")
        assert row["seeds"] == 2 and row["n"] == 40
        steps = found[(found["momentum"] == m) & (found["quantity"] == "loss")]
        assert steps["step"].tolist() == [1, 2]  # 64 images in batches of 32
    first = found[(found["quantity"] == "loss") & (found["step"] == 1)]["value"]
    assert first.nunique() == 1  # before its first update m makes no difference


def test_tables_share_the_runs_that_they_have_in_common(course, tmp_path, monkeypatch, one_seed):
    measured("moco-momentum", course, tmp_path)
    real, made = moco_runs.measure_run, []
    monkeypatch.setattr(moco_runs, "measure_run", lambda *a: made.append(a[2]["queue_length"]) or real(*a))
    found = measured("moco-queue", course, tmp_path)
    assert made == [32, 4096]  # and not the rate, which was chosen before
    assert found["share_of_set"].unique().tolist() == [0.5, 64]


def test_versions_differ_from_v1_by_one_part_each(course, tmp_path, one_seed):
    parts = {name: {key for key in moco_versions.V1 if variant[key] != moco_versions.V1[key]}
             for name, (variant, _) in moco_versions.VARIANTS.items()}
    assert parts == {"MoCo v1": set(), "v1 + MLP head": {"head", "temperature"}, "v1 + v2's views": {"views"},
                     "v1 + cosine": {"schedule"}, "MoCo v2": set(moco_versions.V1),
                     "SimCLR, same batch": set(moco_versions.V1)}
    found = measured("moco-versions", course, tmp_path)
    assert set(found["variant"]) == set(parts)
    assert set(found.attrs["settings"]["val_accuracy_by_lr"]) == {"MoCo v1", "MoCo v2", "SimCLR, same batch"}


def test_batchnorm_table_has_both_modes(course, tmp_path, one_seed):
    found = measured("moco-bn", course, tmp_path)
    assert len(found) == 4 * 4 and found["value"].between(0, 1).all()


def test_staleness_starts_at_one_and_is_that_of_the_keys(course, tmp_path, monkeypatch):
    monkeypatch.setitem(SETS, "train", SETS["train"][torch.arange(192) % 64])  # six steps
    found = measured("moco-staleness", course, tmp_path / "a")
    now = found[found["age"] == 0]
    for quantity in ("cosine to the present key", "found among present keys"):  # in bfloat16 two images had one key
        assert set(now[now["quantity"] == quantity]["value"]) == {1.0}
    angle = torch.linspace(0, 0.5, 6)  # two images whose keys turn by 0.1 a step, a quarter turn apart
    history = torch.stack([torch.stack([angle.cos(), angle.sin()], 1), torch.stack([-angle.sin(), angle.cos()], 1)], 1)
    with pytest.raises(ValueError, match="keys of 6 steps hold none of age 6"):
        moco_staleness.compare(history, age=6)
    tight = torch.nn.functional.normalize(1 + 1e-5 * torch.randn(2, 20, 8), dim=2)  # float32 cannot tell
    assert moco_staleness.compare(tight, age=0)["found among present keys"] == 1
    compared = moco_staleness.compare(history, age=3)
    assert compared["cosine to the present key"] == pytest.approx(torch.tensor(0.3).cos().item(), abs=1e-5)
    assert compared["found among present keys"] == 1
    assert compared["cosine to other images' keys"] == pytest.approx(0, abs=1e-5)  # sin 0.3 and its opposite


def test_memory_is_measured_at_equal_numbers_of_negatives(course, tmp_path, monkeypatch):
    monkeypatch.setattr(moco_memory, "in_own_process", moco_memory.measure)
    found = measured("moco-memory", course, tmp_path)
    speed = found[found["quantity"] == "images per second"]
    assert set(speed["way"]) == set(moco_memory.WAYS) and (speed["value"] > 0).all()
    assert set(speed[speed["way"] != "MoCo"]["batch"] * 2 - 2) == {126} == set(speed["negatives"])


PEAK = """
import torch
from course_utils.experiments import moco_memory
cpu = torch.device("cpu")
torch.ones(30, 2**20)  # 120 MiB, gone again
moco_memory.forget_peak(cpu)
before = moco_memory.peak(cpu)
torch.ones(10, 2**20)
print((moco_memory.peak(cpu) - before) / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can forget a peak")
def test_the_peak_is_that_of_the_tensors_since_it_was_forgotten():
    """In a process of its own, as the experiment measures: one that has run other tests hands out memory again."""
    answer = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert 30 < float(answer.stdout) < 60


def test_a_measurement_has_a_process_of_its_own_and_says_why_it_failed(monkeypatch):
    def answer(command, **_):
        assert command[:3] == [sys.executable, "-m", "course_utils.experiments.moco_memory"]
        broken = "device" not in json.loads(command[3])
        said = 'a line of a library\n{"peak MiB": 1.5}\n'
        return subprocess.CompletedProcess(command, int(broken), said, "KeyError: 'device'")

    monkeypatch.setattr(subprocess, "run", answer)
    assert moco_memory.in_own_process({"device": "cpu"}) == {"peak MiB": 1.5}
    with pytest.raises(RuntimeError, match="KeyError: 'device'"):
        moco_memory.in_own_process({})
