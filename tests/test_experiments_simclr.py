"""The experiments of notebook 06, on made-up images and tiny encoders: their rows, their memory, their questions."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from course_utils import augment, checkpoints, datasets, encoders, experiments, losses, scoreboard
from course_utils.experiments import (
    pretrain,
    runs,
    simclr_augmentations,
    simclr_batch,
    simclr_heads,
    simclr_knowledge,
    simclr_losses,
    simclr_runs,
    simclr_temperature,
    simclr_transfer,
)
from course_utils.settings import Course

SETS = {split: datasets.load("scenes", split, limit=n) for split, n in (("train", 80), ("val", 30), ("test", 40))}


@pytest.fixture
def course():
    return Course("smoke", torch.device("cpu"), torch.float32, 0)


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Made-up images under any name, the laptop encoder eight times narrower, shipped checkpoints of it."""
    def load(name, split="train", *, limit=None, **_):
        data = SETS[split]
        return replace(data if limit is None else data[:limit], name=name, source=f"made up for {name}")

    real = encoders.resnet10
    monkeypatch.setattr(datasets, "load", load)
    monkeypatch.setattr(encoders, "resnet10", lambda stem="fast", width=4: real(stem, width))
    monkeypatch.setattr(checkpoints, "DATA", tmp_path)
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "shipped")
    for method in ("simclr", "supervised"):
        checkpoints.save(pretrain.build(method, SETS["train"], "smoke"), f"{method}-cifar10", {}, tmp_path / "shipped")


def measured(name, course, tmp_path):
    found = scoreboard.table(name, experiments.run(name, course, tmp_path / "results").parent)
    assert found["value"].map(math.isfinite).all()
    return found


# --- what they share ------------------------------------------------------------------------------------

def test_a_finished_run_is_not_done_again_and_another_one_is(course, tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"linear probe": 0.25 * len(calls)}

    first = [runs.once(course, "demo", {"seed": 0}, compute) for _ in range(2)]
    assert first == [{"linear probe": 0.25}] * 2 and len(calls) == 1
    assert runs.once(course, "demo", {"seed": 1}, compute) == {"linear probe": 0.5}
    assert runs.once(replace(course, profile="laptop"), "demo", {"seed": 0}, compute) == {"linear probe": 0.75}
    files = list((tmp_path / "runs" / "experiments" / "demo").iterdir())
    assert len(files) == 3 and {json.loads(file.read_text())["run"]["seed"] for file in files} == {0, 1}


def test_a_run_that_is_cut_off_leaves_nothing_behind(course, tmp_path):
    with pytest.raises(ZeroDivisionError):
        runs.once(course, "demo", {"seed": 0}, lambda: 1 / 0)
    assert runs.once(course, "demo", {"seed": 0}, lambda: 7) == 7


def test_an_experiment_goes_on_where_it_was_cut_off(course, tmp_path, monkeypatch):
    real, calls = simclr_runs.train, []

    def train(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(simclr_runs, "train", train)
    with pytest.raises(KeyboardInterrupt):
        experiments.run("simclr-batch", course, tmp_path)
    experiments.run("simclr-batch", course, tmp_path)
    done = len(calls) - 1  # all but the one that was cut off
    experiments.run("simclr-batch", course, tmp_path)
    assert len(calls) - 1 == done == 2 * (1 + 2)  # two batch sizes, each one trial and two seeds: none twice


def test_a_diverged_run_is_none_and_left_out_of_the_rows(course, monkeypatch):
    def diverge(*_, **__):
        raise FloatingPointError("the loss became nan")

    monkeypatch.setattr(simclr_runs, "train", diverge)
    assert simclr_runs.attempt(course, "demo", {}, SETS["train"], SETS["val"], {}, 0) is None
    monkeypatch.setattr(simclr_runs, "train", lambda *_: pretrain.build("simclr", SETS["train"], "smoke"))
    monkeypatch.setattr(simclr_runs, "features", lambda _, data: torch.full((len(data), 4), math.nan))
    assert simclr_runs.attempt(course, "demo", {"another": 1}, SETS["train"], SETS["val"], {}, 0) is None
    row, = runs.rows({"a": 1}, [None, {"x": 0.2}, {"x": 0.4}], 40)
    assert row["value"] == pytest.approx(0.3) and row["seeds"] == 2 and row["a"] == 1
    assert runs.rows({}, [None], 40) == []


def test_two_views_with_nt_xent_is_simclr():
    torch.manual_seed(0)
    simclr = pretrain.build("simclr", SETS["train"], "smoke")
    same = simclr_runs.TwoViews(simclr.encoder, augment=simclr.augment, head=simclr.head,
                                loss=lambda z1, z2: losses.nt_xent(z1, z2, 0.2))
    images, values = SETS["train"].float_images()[:16], []
    for method in (simclr, same):
        torch.manual_seed(1)
        values.append(method(images))
    torch.testing.assert_close(*values)


def test_trials_are_shorter_than_runs(course):
    laptop = replace(course, profile="laptop")
    assert simclr_runs.settings(laptop, 3 / 8)["epochs"] == 2 < simclr_runs.settings(laptop)["epochs"]


# --- tables ---------------------------------------------------------------------------------------------

def test_losses_have_their_margin_or_temperature_and_rate_chosen_on_val(course, tmp_path):
    found = measured("simclr-losses", course, tmp_path)
    assert list(dict.fromkeys(found["loss"])) == list(simclr_losses.LOSSES) and set(found["seeds"]) == {2}
    for name, on_val in found.attrs["settings"]["val_accuracy"].items():
        row = found[found["loss"] == name].iloc[0]
        assert on_val[f"{row['setting']}, lr {row['lr']}"] == max(on_val.values())
        assert row["setting"].split()[0] == ("margin" if "margin" in name else "temperature")


def test_semi_hard_nt_logistic_equals_a_loop():
    g = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(5, 4, generator=g, dtype=torch.float64) for _ in range(2))
    z = F.normalize(torch.cat([z1, z2]))
    expected = 0.0
    for i in range(10):
        positive = z[i] @ z[(i + 5) % 10]
        negatives = sorted(z[i] @ z[j] for j in range(10) if j % 5 != i % 5)
        below = [s for s in negatives if s < positive]
        negative = below[-1] if below else negatives[0]
        expected -= (F.logsigmoid(positive / 0.3) + F.logsigmoid(-negative / 0.3)) / 10
    assert simclr_losses.nt_logistic_semi_hard(z1, z2, 0.3).item() == pytest.approx(expected.item(), abs=1e-5)


def test_temperatures_have_statistics_of_the_views_beside_the_probes(course, tmp_path):
    found = measured("simclr-temperature", course, tmp_path)
    assert len(found) == len(simclr_temperature.VARIANTS) * 6
    entropy = found[found["quantity"] == "entropy"]
    assert entropy["value"].between(0, math.log(2 * 30 - 1)).all() and set(entropy["n"]) == {60}
    assert set(found[found["quantity"] == "linear probe"]["n"]) == {40}


def test_batches_have_the_same_epochs_and_fewer_steps_the_larger_they_are(course, tmp_path):
    found = measured("simclr-batch", course, tmp_path)
    rows = found[found["quantity"] == "linear probe"].set_index("batch_size")
    assert rows["steps"].to_dict() == {32: 2, 64: 1}
    tried = found.attrs["settings"]["val_accuracy_by_lr"]
    assert all(str(rows.loc[size, "lr"]) in tried[str(size)] for size in (32, 64))


def test_a_large_batch_goes_through_the_encoder_in_pieces(course, monkeypatch):
    asked = []
    monkeypatch.setattr(simclr_batch, "attempt", lambda *_, micro_batch, **__: asked.append(micro_batch) or
                        {"linear probe": 0.5})
    simclr_batch.run(replace(course, profile="laptop"))
    assert asked.count(simclr_batch.MICRO_BATCH) == len(asked) / 3 and set(asked) == {None, simclr_batch.MICRO_BATCH}


def test_heads_are_probed_before_and_after_and_no_head_changes_nothing(course, tmp_path):
    found = measured("simclr-heads", course, tmp_path)
    assert len(found) == 2 * len(simclr_heads.HEADS)
    none = found[found["kind"] == "identity"]["value"]
    assert none.iloc[0] == none.iloc[1]
    assert found[found["seeds"] == 2]["dimension"].isin([128, 256]).all()


def test_knowledge_has_h_and_g_of_h_for_every_question(course, tmp_path):
    found = measured("simclr-knowledge", course, tmp_path)
    cases = {(row["task"], row["among the views"], row["quantity"]) for _, row in found.iterrows()}
    asked = {(task, True) for task in simclr_knowledge.TASKS} | {
        (task, False) for task in simclr_knowledge.TASKS if task != "colour or grey"}
    assert cases == {(*case, where) for case in asked for where in ("h", "g(h)")}


@pytest.mark.parametrize("task", simclr_knowledge.TASKS)
def test_the_question_is_answered_by_the_picture(task):
    images, answers = simclr_knowledge.changed(SETS["train"], task, seed=3)
    again, _ = simclr_knowledge.changed(SETS["train"], task, seed=3)
    assert torch.equal(images, again) and images.dtype == torch.uint8
    assert answers.float().mean() > 0 and answers.max() == (3 if task == "rotation" else 1)
    for image, answer, original in zip(images, answers.tolist(), SETS["train"].images, strict=True):
        if answer == 0:
            assert torch.equal(image, original)
        elif task == "rotation":
            assert torch.equal(image, original.rot90(answer, (1, 2)))
        elif task == "colour or grey":
            assert (image.float().std(dim=0) < 1).all()
        else:
            assert not torch.equal(image, original)


def test_every_pair_of_operations_has_a_cell_and_the_argument_three_seeds(course, tmp_path):
    found = measured("simclr-augmentations", course, tmp_path)
    rows = found[found["quantity"] == "linear probe"]
    n = len(simclr_augmentations.OPERATIONS)
    assert len(rows) == n * (n + 1) / 2 + 1 and (rows["first"] == "untrained").sum() == 1
    several = {(row["first"], row["second"]) for _, row in rows.iterrows() if row["seeds"] > 1}
    assert several == {*simclr_augmentations.THREE_SEEDS, ("untrained", "untrained")}
    assert all(isinstance(step, torch.nn.Module) and step(torch.rand(2, 3, 32, 32)).shape == (2, 3, 32, 32)
               for make in simclr_augmentations.OPERATIONS.values() for step in make(32))


def test_transfer_has_every_start_on_every_target(course, tmp_path, monkeypatch):
    monkeypatch.setattr(simclr_transfer, "digits", lambda: runs.Sets(SETS["train"], SETS["val"], SETS["test"]))
    found = measured("simclr-transfer", course, tmp_path)
    assert len(found) == 5 * 3 * 2 and set(found["quantity"]) == {"linear", "fine-tuned"}
    assert set(found["start"]) == {"SimCLR", "supervised", "random"} and found["majority"].between(0, 1).all()


def test_places_are_the_quarters_of_the_picture():
    places = simclr_transfer.quadrants(SETS["test"])
    for label, (x, y) in zip(places.labels.tolist(), SETS["test"].factors["position"].tolist(), strict=True):
        assert places.classes[label] == f"{'bottom' if y > 0.5 else 'top'} {'right' if x > 0.5 else 'left'}"


def test_digits_are_split_without_overlap():
    sets = simclr_transfer.digits()
    assert [len(sets.train), len(sets.val), len(sets.test)] == [1_100, 297, 400]
    assert sets.test.images.shape[1:] == (3, 32, 32) and set(sets.test.labels.tolist()) == set(range(10))
    assert len(simclr_transfer.draw(sets.train, 60, seed=1)) == 60


def test_augmentations_of_the_knowledge_are_those_of_the_questions():
    steps = [step for step, _ in simclr_knowledge.TASKS.values()]
    assert steps[0] is None and [type(step) for step in steps[1:]] == [augment.RandomRotation90, augment.GaussianNoise,
                                                                     augment.Sobel]


def test_what_they_share_is_no_experiment():
    assert "simclr-runs" not in experiments.names() and "simclr-losses" in experiments.names()
