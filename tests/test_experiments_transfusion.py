"""Experiments of notebook 03, on a few made-up images and with short trainings."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from course_utils import checkpoints, datasets, encoders, evaluation, experiments, scoreboard
from course_utils.datasets import fundus, medical
from course_utils.experiments import fundus_ssl, pretrain, transfusion_runs, transfusion_starts
from course_utils.experiments.runs import Sets
from course_utils.methods import Supervised
from course_utils.settings import Course

EYES = {split: fundus.generate(split, n=n, size=32, prevalence=0.5)
        for split, n in (("train", 64), ("val", 40), ("test", 40))}
SCENES = {split: datasets.load("scenes", split, limit=n) for split, n in (("train", 64), ("val", 40), ("test", 40))}


@pytest.fixture(autouse=True)
def course(monkeypatch, tmp_path):
    """A smoke course; every set made up, all weights narrow and none of them shipped but two of ResNet-10."""
    def load(name, split="train", *, limit=None, size=None, **_):
        data = (SCENES if name == "cifar10" else EYES)[split]
        if name == "chestmnist":
            many = torch.zeros(len(data), 14)
            many[:, [0, 1, 2, 9]] = torch.eye(4)[torch.arange(len(data)) % 4]  # nobody has a consolidation
            names = ("atelectasis", "cardiomegaly", "effusion", *(f"other {i}" for i in range(5)), "consolidation",
                     "edema", *(f"more {i}" for i in range(4)))
            data = replace(data, labels=many, classes=names, factors={})
        if name == "retinamnist":
            data = replace(data, labels=data.factors["grade"].long(), classes=tuple("01234"))
        return replace(data, name=name, source=f"made up for {name}")

    def tiny(name, in_channels=3):
        encoder = encoders.CBR(3, (4, 4, 8, 8), 4, in_channels=in_channels)
        encoder.config = {"name": f"cbr_{name}", "in_channels": in_channels}
        return encoder

    real = encoders.resnet10
    narrow = lambda stem="fast", width=4: real(stem, width)  # noqa: E731
    monkeypatch.setattr(datasets, "load", load)
    monkeypatch.setattr(encoders, "resnet10", narrow)
    monkeypatch.setitem(encoders._BUILDERS, "resnet10", narrow)
    monkeypatch.setitem(encoders._BUILDERS, "cbr_tiny", lambda in_channels=3: tiny("tiny", in_channels))
    monkeypatch.setattr(encoders, "pretrained", lambda name: real("fast", 4).eval())
    monkeypatch.setattr(checkpoints, "DATA", tmp_path)
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "shipped")
    for name in ("supervised", "simclr"):
        method = pretrain.build(name, SCENES["train"], "smoke")
        checkpoints.save(method, f"{name}-cifar10", {"epochs_run": 1}, tmp_path / "shipped")
    return Course("smoke", torch.device("cpu"), torch.float32, 0)


def measured(name, course, tmp_path):
    found = scoreboard.table(name, experiments.run(name, course, tmp_path / "results").parent)
    assert found["value"].map(math.isfinite).all()
    return found


def test_helpers_are_no_experiments():
    named = set(experiments.names())
    assert {"transfusion-retina", "transfusion-chest", "transfusion-chestmnist", "transfusion-retinamnist",
            "fundus-ssl"} <= named
    assert not {"transfusion-runs", "transfusion-starts", "transfusion-table"} & named


# --- first weights ----------------------------------------------------------------------------------------

def test_random_weights_follow_the_seed(course):
    a, b, c = (transfusion_starts.weights(course, "cbr_tiny", "random", seed) for seed in (0, 0, 1))
    assert torch.equal(next(a.parameters()), next(b.parameters()))
    assert not torch.equal(next(a.parameters()), next(c.parameters()))
    with pytest.raises(ValueError, match="unknown start 'magic'; there are: random, transfer"):
        transfusion_starts.weights(course, "cbr_tiny", "magic", 0)


def test_a_source_that_does_not_ship_is_trained_once_and_kept_apart_from_other_profiles(course, tmp_path, monkeypatch):
    first = transfusion_starts.source(course, "cbr_tiny")
    assert (tmp_path / "runs" / "smoke-checkpoints" / "cbr_tiny-cifar10.safetensors").exists()
    assert not checkpoints.OWN.exists()  # where a laptop run would look
    monkeypatch.setattr(transfusion_starts, "pretrain", lambda *_, **__: 1 / 0)
    again = transfusion_starts.source(course, "cbr_tiny")
    assert torch.equal(next(first.parameters()), next(again.parameters()))
    transfer = transfusion_starts.weights(course, "cbr_tiny", "transfer", 7)
    assert torch.equal(next(first.parameters()), next(transfer.parameters()))


def test_mean_and_variance_are_all_that_is_left():
    torch.manual_seed(0)
    trained, fresh = encoders.cbr("small"), encoders.cbr("small")
    with torch.no_grad():
        for i, layer in enumerate(part for part in trained.modules() if isinstance(part, nn.Conv2d)):
            layer.weight.mul_(i + 2).add_(0.01 * i)
    norms = [part.weight.clone() for part in fresh.modules() if isinstance(part, nn.BatchNorm2d)]
    made = transfusion_starts.mean_and_variance(fresh, trained)
    pairs = zip(made.modules(), trained.modules(), strict=True)
    for new, old in ((a.weight, b.weight) for a, b in pairs if isinstance(a, nn.Conv2d)):
        assert new.std().item() == pytest.approx(old.std().item(), rel=0.05)
        assert new.mean().item() == pytest.approx(old.mean().item(), abs=0.05 * old.std().item())
        assert torch.corrcoef(torch.stack([new.flatten(), old.flatten()]))[0, 1].abs() < 0.05
        assert new.requires_grad
    assert all(torch.equal(a, b.weight) for a, b in zip(
        norms, (part for part in made.modules() if isinstance(part, nn.BatchNorm2d)), strict=True))


def test_the_first_blocks_are_the_sources_and_the_others_are_not():
    trained, fresh = encoders.cbr("tiny"), encoders.cbr("tiny")
    trained.block1[1].running_mean.fill_(3.0)
    made = transfusion_starts.first_blocks(fresh, trained, 2)
    same = [torch.equal(getattr(made, f"block{i}")[0].weight, getattr(trained, f"block{i}")[0].weight)
            for i in (1, 2, 3, 4)]
    assert same == [True, True, False, False] and made.block1[1].running_mean[0] == 3


def test_source_accuracy_is_that_of_the_checkpoints_own_classifier(course):
    found = transfusion_starts.source_accuracy(course, "resnet10")
    checkpoint = checkpoints.load("supervised-cifar10")
    z = evaluation.features(checkpoint.encoder, SCENES["test"])
    right = (checkpoint.head(z).argmax(1) == SCENES["test"].labels).float().mean().item()
    assert found == {"source accuracy": pytest.approx(right), "n": 40}
    assert transfusion_starts.source_accuracy(course, "efficientnet_lite0") is None  # no ImageNet here


# --- one run ----------------------------------------------------------------------------------------------

def test_epochs_to_95_percent_counts_from_one():
    assert transfusion_runs.epochs_to([0.5, 0.84, 0.86, 0.9]) == 3  # 0.855 is 95 % of 0.9
    assert transfusion_runs.epochs_to([0.9]) == 1
    assert transfusion_runs.epochs_to([0.9, 0.5, 0.8]) == 1


def test_scores_are_those_of_the_second_class_or_of_each_label():
    torch.manual_seed(0)
    method = Supervised(encoders.resnet10(), 2).eval()
    logits = method.logits(EYES["val"].float_images())
    found = transfusion_runs.scores(method, EYES["val"])
    assert torch.allclose(found[:, 0], logits[:, 1] - logits[:, 0], atol=1e-4) and found.shape == (40, 1)
    five = medical.lecture_pathologies(datasets.load("chestmnist", "val"))
    assert transfusion_runs.scores(Supervised(encoders.resnet10(), 5), five).shape == (40, 5)


def test_few_labels_keep_the_share_of_the_ill_and_differ_between_seeds():
    train = fundus.generate("train", n=200, size=16, prevalence=0.3)
    draws = [transfusion_runs.draw(train, 50, seed) for seed in (0, 1)]
    assert [int(d.labels.sum()) for d in draws] == [15, 15]
    assert not torch.equal(draws[0].images, draws[1].images)
    assert transfusion_runs.draw(train, 200, 0) is train


def test_what_is_trained_is_the_whole_network_and_only_on_the_labels_given(course, monkeypatch):
    sets, seen = Sets(EYES["train"], EYES["val"], EYES["test"]), []
    real = transfusion_runs.training.fit
    monkeypatch.setattr(transfusion_runs.training, "fit", lambda method, data, **options: (
        seen.append((len(data), options, {p.requires_grad for p in method.parameters()})),
        real(method, data, **options))[1])
    found = transfusion_runs.run_once(course, "retina", sets, architecture="efficientnet_lite0", start="transfer",
                                      seed=0, size=32, epochs=2, lr=0.02, labels=20)
    (n, options, trainable), = seen
    assert n == 20 and options["batch_size"] == 16 and options["lr"] == 0.02 and trainable == {True}
    assert len(found["val AUC"]) == 1 and set(found["AUC"]) == {"moderate or worse"}


def test_the_retinamnist_task_is_moderate_or_worse(course):
    sets = transfusion_runs.load_task(course, "retinamnist", None)
    assert torch.equal(sets.test.labels, (EYES["test"].factors["grade"] >= 2).long())


def test_one_seed_has_no_interval_and_more_have_their_sd():
    one, = transfusion_runs.with_sd({"a": 1}, "AUC", [0.9], 100)
    assert one["sd"] is None and one["low"] is None
    three, = transfusion_runs.with_sd({"a": 1}, "AUC", [0.8, 0.9, 1.0], 100)
    assert three["sd"] == pytest.approx(0.1) and three["value"] == pytest.approx(0.9)


# --- the tables -------------------------------------------------------------------------------------------

def test_the_retina_table_has_every_part(course, tmp_path):
    found = measured("transfusion-retina", course, tmp_path)
    full = found[(found["quantity"] == "AUC") & (found["labels"] == 64)]
    assert set(full["start"]) == set(transfusion_starts.STARTS)
    assert set(found[(found["quantity"] == "AUC") & (found["labels"] == 32)]["start"]) == {"random", "transfer"}
    assert {"epochs to 95 %", "val AUC", "source accuracy"} <= set(found["quantity"])
    for key in ("size", "epochs", "lr", "n", "seeds"):
        assert full[key].notna().all()
    assert set(found.attrs["settings"]["val_auc_by_lr"]) == {
        "CBR and ResNet-10, random", "CBR and ResNet-10, transfer", "cbr_tiny, random, 32 labels",
        "cbr_tiny, transfer, 32 labels"}


def test_the_chest_table_can_be_measured_again_from_what_is_kept(course, tmp_path, monkeypatch):
    first = measured("transfusion-chest", course, tmp_path)
    monkeypatch.setattr(transfusion_runs, "train_run", lambda *_: 1 / 0)
    again = measured("transfusion-chest", course, tmp_path)
    assert first["value"].equals(again["value"])


def test_a_pathology_that_nobody_has_gets_no_row(course, tmp_path):
    found = measured("transfusion-chestmnist", course, tmp_path)
    assert set(found["diagnosis"].dropna()) == {"atelectasis", "cardiomegaly", "edema", "effusion"}
    assert found.attrs["source"] == "made up for chestmnist"


def test_a_set_that_is_not_at_hand_says_what_to_do(course, tmp_path, monkeypatch):
    def gone(*_, **__):
        raise datasets.DatasetUnavailable("put chestmnist.npz somewhere")

    monkeypatch.setattr(datasets, "load", gone)
    with pytest.raises(datasets.DatasetUnavailable, match="put chestmnist.npz"):
        experiments.run("transfusion-chestmnist", course, tmp_path)


def test_few_labels_after_simclr_against_other_starts(course, tmp_path, monkeypatch):
    found = measured("fundus-ssl", course, tmp_path)
    assert set(found["start"]) == {*fundus_ssl.PLAIN, *fundus_ssl.SSL}
    losses = found.attrs["settings"]["loss_by_epoch"]
    assert losses["SimCLR on CIFAR-10"] == [] and len(losses["SimCLR on patches"]) == 1
    [card] = (tmp_path / "runs" / "fundus-ssl" / "smoke").glob("simclr-cifar10-*-patches.json")
    card = json.loads(card.read_text())
    assert "seed 1" in card["source"] and card["images"] == 128  # other eyes than those with labels, two patches each
    monkeypatch.setattr(fundus_ssl.training, "fit", lambda *_, **__: 1 / 0)
    assert measured("fundus-ssl", course, tmp_path)["value"].equals(found["value"])
    other = pretrain.build("simclr", SCENES["train"], "smoke")  # other weights under the old name are no old result
    checkpoints.save(other, "simclr-cifar10", {"epochs_run": 1}, tmp_path / "shipped")
    with pytest.raises(ZeroDivisionError):  # nor are the weights that grew from the old ones
        fundus_ssl.simclr(course, "SimCLR on CIFAR-10, then eyes", 32)
    monkeypatch.setattr(fundus_ssl, "linear_probe", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measured("fundus-ssl", course, tmp_path)


def test_patches_are_cut_from_the_eyes_two_from_each(course):
    eyes, patches = (fundus_ssl.unlabelled(course, kind, 40) for kind in ("eyes", "patches"))
    assert len(patches) == 2 * len(eyes) and patches.images.shape[1:] == (3, 20, 20)
    for i, patch in enumerate(patches.images):
        windows = eyes.images[i // 2].unfold(1, 20, 1).unfold(2, 20, 1).permute(1, 2, 0, 3, 4)  # [21, 21, 3, 20, 20]
        assert (windows[4:17, 4:17] == patch).flatten(2).all(2).any()  # and none touches the edge


def test_both_kinds_of_views_keep_size_and_range():
    x = EYES["val"].float_images()[:4]
    for kind in ("eyes", "patches"):
        view = fundus_ssl.views(kind, 32)(x)
        assert view.shape == x.shape and view.min() >= 0 and view.max() <= 1


def test_cbr_recipes_train_that_network_in_every_profile():
    for profile in ("smoke", "laptop", "gpu"):
        method = pretrain.build("cbr_small", SCENES["train"], profile)
        assert method.encoder.config["name"] == "cbr_small" and method.name == "supervised"
