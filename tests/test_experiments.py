"""Experiments, on made-up images in place of CIFAR-10: rows that the scoreboard takes, and numbers that are right."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from course_utils import checkpoints, datasets, encoders, experiments, scoreboard
from course_utils.experiments import (
    few_labels,
    fine_tuning,
    pixel_knn,
    pretrain,
    published_recipes,
    rotation_correlation,
    scoreboard_cifar10,
    triplet_mining,
)
from course_utils.methods import Supervised
from course_utils.settings import Course

SETS = {split: datasets.load("scenes", split, limit=n) for split, n in (("train", 500), ("val", 30), ("test", 40))}


@pytest.fixture
def course():
    return Course("smoke", torch.device("cpu"), torch.float32, 0)


@pytest.fixture(autouse=True)
def cifar10(monkeypatch, tmp_path):
    """`datasets.load` gives small sets of made-up images under the name of CIFAR-10."""
    def load(name, split="train", *, limit=None, size=None, **_):
        data = SETS["train" if split == "train+val" else split]
        if limit is not None:
            data = data[datasets.limited_indices(data.labels, limit, 0)]
        images = data.images if size is None else datasets.resize_square(data.images, size)
        return replace(data, name=name, images=images)

    monkeypatch.setattr(datasets, "load", load)
    monkeypatch.setattr(checkpoints, "DATA", tmp_path)
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "shipped")
    pixel_knn._channel_statistics.cache_clear()  # those of the real images, and afterwards those of the made-up ones
    yield
    pixel_knn._channel_statistics.cache_clear()


def test_names_are_those_of_the_files_with_dashes():
    assert {"pixel-knn", "few-labels", "fine-tuning", "scoreboard-cifar10"} <= set(experiments.names())
    assert "pretrain" not in experiments.names() and not any("_" in name for name in experiments.names())


@pytest.mark.parametrize("name", ["nonsense", "pretrain", "pixel_knn", "os"])
def test_an_unknown_experiment_lists_the_known_ones(course, name):
    with pytest.raises(ValueError, match=f"unknown experiment '{name}'; there are: .*pixel-knn"):
        experiments.run(name, course)


def test_pixel_neighbours_equal_scikit_learn(course, tmp_path):
    path = experiments.run("pixel-knn", course, tmp_path / "results")
    found = scoreboard.table("pixel-knn", path.parent)
    assert found.attrs["title"] == pixel_knn.TITLE and set(found["profile"]) == {"smoke"} and set(found["n"]) == {40}
    bank, test = (datasets.load("cifar10", split, limit=200) for split in ("train", "test"))
    x, z = (data.float_images().flatten(1).double() for data in (bank, test))
    for metric, oracle in (("l1", "manhattan"), ("l2", "euclidean"), ("cosine", "cosine")):
        accuracy = KNeighborsClassifier(1, metric=oracle, algorithm="brute").fit(x, bank.labels).score(z, test.labels)
        row = scoreboard.select(found, vote="nearest", metric=metric)
        assert row["value"] == pytest.approx(accuracy, abs=1e-4) and row["low"] <= accuracy <= row["high"]
    vote = KNeighborsClassifier(20, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07))
    row = scoreboard.select(found, scaling="raw", vote="20 nearest, weighted")
    assert row["value"] == pytest.approx(vote.fit(x, bank.labels).score(z, test.labels), abs=1e-4)


def test_standardised_pixels_have_mean_0_and_deviation_1_per_channel():
    z = pixel_knn.standardised(datasets.load("cifar10", "train+val")).unflatten(1, (3, -1))
    assert torch.allclose(z.mean((0, 2)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(z.std((0, 2)), torch.ones(3), atol=1e-4)


def test_the_scoreboard_has_three_measures_of_every_feature_at_hand(course, tmp_path, monkeypatch):
    monkeypatch.setattr(encoders, "pretrained", lambda name: encoders.resnet10(width=4))
    method = pretrain.build("supervised", SETS["train"], "smoke")
    checkpoints.save(method, "supervised-cifar10", {}, checkpoints.SHIPPED)
    found = scoreboard.table("scoreboard-cifar10", experiments.run("scoreboard-cifar10", course, tmp_path).parent)
    names = ["pixels", "random network", "supervised (small, CIFAR-10)", "supervised (ImageNet)"]
    assert list(dict.fromkeys(found["feature"])) == names
    for name in names:
        rows = found[found["feature"] == name]
        assert rows["metric"].tolist() == ["kNN", "linear probe", "10 labels per class"]
        assert rows["seeds"].tolist() == [1, 1, 5] and (rows["low"] < rows["value"]).all()


def test_only_shipped_checkpoints_are_on_the_shared_scoreboard(course):
    method = pretrain.build("supervised", SETS["train"], "smoke")
    checkpoints.save(method, "simclr-cifar10", {}, checkpoints.OWN)
    assert "simclr" not in scoreboard_cifar10.representations(course)
    checkpoints.save(method, "simclr-cifar10", {}, checkpoints.SHIPPED)
    notebook, f = scoreboard_cifar10.representations(course)["simclr"]
    assert notebook == 6 and f(SETS["val"]).shape == (30, 128)  # half as wide on scenes


def test_few_labels_has_a_row_for_each_feature_up_to_notebook_2_and_each_count(course, tmp_path, monkeypatch):
    def colours(data):
        return data.float_images().mean((2, 3))

    monkeypatch.setattr(few_labels, "representations",
                        lambda _: {"a": (1, colours), "b": (2, colours), "c": (6, lambda data: 1 / 0)})
    found = scoreboard.table("few-labels", experiments.run("few-labels", course, tmp_path).parent)
    assert list(zip(found["feature"], found["per_class"], strict=True)) == [
        (name, count) for name in "ab" for count in (1, 2, 5, 10, 50)]
    assert set(found["seeds"]) == {5} and (found["low"] <= found["value"]).all()


def test_fine_tuning_has_a_curve_from_each_start(course, tmp_path, monkeypatch):
    seen = []

    def curve(start, train, cases, epochs, lr, seed, course):
        seen.append((start, len(cases), lr, seed))
        return [0.5 + 0.1 * seed] * epochs

    monkeypatch.setattr(fine_tuning, "_curve", curve)
    found = scoreboard.table("fine-tuning", experiments.run("fine-tuning", course, tmp_path).parent)
    assert found["start"].tolist() == ["random", "ImageNet"]
    assert set(found["value"]) == {0.55} and set(found["seeds"]) == {2}
    assert [(start, cases, seed) for start, cases, _, seed in seen] == [  # the rate on val, the curves on test
        (start, cases, seed) for start in ("random", "ImageNet") for cases, seed in ((20, 0), (20, 0), (20, 1))]
    assert found.attrs["settings"]["lr"] == {"random": 0.05, "ImageNet": 0.05}
    assert all(low < 0.5 and high > 0.6 for low, high in zip(found["low"], found["high"], strict=True))


def test_one_fine_tuning_curve_runs(course):
    train = datasets.load("cifar10", "train", limit=20, size=32)
    accuracies = fine_tuning._curve("ImageNet", train, train, 1, 0.01, 0, course)
    assert len(accuracies) == 1 and 0 <= accuracies[0] <= 1


# --- recipes --------------------------------------------------------------------------------------------

def test_every_method_has_a_recipe_for_every_profile():
    assert set(pretrain.RECIPES) == {(m, profile) for m in pretrain.METHODS for profile in ("smoke", "laptop", "gpu")}


@pytest.mark.parametrize(("profile", "name", "stem"), [("smoke", "resnet10", "fast"), ("laptop", "resnet10", "fast"),
                                                       ("gpu", "resnet18", "cifar")])
def test_the_encoder_follows_the_profile(profile, name, stem):
    method = pretrain.build("supervised", SETS["train"], profile)
    assert isinstance(method, Supervised) and method.head.out_features == 10
    assert (method.encoder.config["name"], method.encoder.config["stem"]) == (name, stem)
    assert method.augment(torch.rand(4, 3, 32, 32)).shape == (4, 3, 32, 32)


@pytest.mark.parametrize("profile", ["smoke", "laptop", "gpu"])
@pytest.mark.parametrize("name", pretrain.METHODS)
def test_every_method_is_built_for_every_profile_and_makes_views_of_the_images_size(name, profile):
    method = pretrain.build(name, SETS["train"], profile)
    assert method.name == ("supervised" if name in pretrain.CBRS else name)
    assert method.head.config["in_dim"] == method.encoder.feature_dim
    assert method.augment(torch.rand(4, 3, 32, 32)).shape == (4, 3, 32, 32)


def test_the_gpu_profile_runs_the_published_recipes():
    # SimCLR: github.com/dkobak/simclr-cifar10; MoCo: the CIFAR notebook of facebookresearch/moco
    simclr, moco = (pretrain.build(name, SETS["train"], "gpu") for name in ("simclr", "moco"))
    assert [m.weight.shape for m in simclr.head if hasattr(m, "weight")] == [(1024, 512), (128, 1024)]
    assert (simclr.temperature, simclr.augment[0].scale) == (0.5, (0.2, 1.0))
    assert (moco.temperature, moco.augment[0].scale, moco.split_bn) == (0.1, (0.08, 1.0), 8)
    assert moco.head.weight.shape == (128, 512) and moco.queue.shape == (4096, 128)
    assert [method.augment[3].p for method in (simclr, moco)] == [0.1, 0.2]
    # SimCLR's rate is given per 256 images; its author takes 0.06, twice the usual one, where there are 100 epochs
    for name, rate, epochs in (("simclr", 0.06 * 512 / 256, 100), ("moco", 0.06, 200)):
        recipe = pretrain.RECIPES[name, "gpu"]
        assert recipe == dict(epochs=epochs, batch_size=512, lr=rate, weight_decay=5e-4)


def test_an_unknown_method_is_refused_before_any_work(course):
    for ask in (lambda: pretrain.build("magic", SETS["train"], "smoke"),
                lambda: pretrain.pretrain(course, "magic", "cifar10")):
        with pytest.raises(ValueError, match="unknown method 'magic'; there are: supervised"):
            ask()


def test_pretraining_resumes_and_cleans_up(course, tmp_path, monkeypatch):
    state = tmp_path / "runs" / "training" / "supervised-cifar10-smoke-0.pt"
    real, seen = pretrain.measure, []
    monkeypatch.setattr(pretrain, "measure", lambda *_: seen.append(state.exists()) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pretrain.pretrain(course, "supervised", "cifar10", folder=tmp_path / "out")
    assert seen == [True] and state.exists()  # the training is not lost
    monkeypatch.setattr(pretrain, "measure", real)
    monkeypatch.setattr(pretrain.methods.Supervised, "forward", lambda *_: 1 / 0)  # nothing is trained again
    pretrain.pretrain(course, "supervised", "cifar10", folder=tmp_path / "out")
    assert not state.exists()
    card = checkpoints.load("supervised-cifar10", tmp_path / "out").card
    assert card["metrics"]["val_n"] == 30 and card["metrics"]["test_n"] == 40 and card["images"] == 256


# --- notebooks 04 and 05 ----------------------------------------------------------------------------------

@pytest.fixture
def small_networks(monkeypatch):
    """The laptop encoder, eight times narrower, and shipped checkpoints of it."""
    real = encoders.resnet10
    monkeypatch.setattr(encoders, "resnet10", lambda stem="fast", width=4: real(stem, width))
    for method in ("rotation", "supervised"):
        torch.manual_seed(0)
        checkpoints.save(pretrain.build(method, SETS["train"], "smoke"), f"{method}-cifar10", {}, checkpoints.SHIPPED)


def measured(name, course, tmp_path):
    return scoreboard.table(name, experiments.run(name, course, tmp_path).parent)


def test_stages_have_two_probes_of_three_networks_on_about_as_many_numbers_each(course, tmp_path, small_networks):
    found = measured("rotation-stages", course, tmp_path)
    assert len(found) == 3 * 5 * 2 and set(found["n"]) == {40}
    assert set(found["network"]) == {"rotation", "supervised", "random"}
    sizes = found.groupby("network")["dimension"]
    assert (sizes.max() / sizes.min() < 1.2).all()


def test_the_correlation_is_that_of_the_recorded_epochs(course, tmp_path, small_networks):
    found = measured("rotation-correlation", course, tmp_path)
    correlations = []
    for seed in (0, 1):
        run = found[(found["seed"] == seed)].pivot(index="epoch", columns="quantity", values="value")
        run = run.dropna(subset=["rotation accuracy", "linear probe"])
        assert len(run) == 4
        expected = np.corrcoef(run["rotation accuracy"], run["linear probe"])[0, 1]
        row = scoreboard.select(found, seed=seed, quantity="correlation")
        assert row["value"] == pytest.approx(expected, abs=0.01) and row["low"] < row["value"] < row["high"]
        correlations.append(row["value"])
    mean = scoreboard.select(found, quantity="mean correlation")
    assert min(correlations) <= mean["value"] <= max(correlations) and -1 <= mean["low"] < mean["high"] <= 1


def test_rotation_accuracy_counts_all_four_rotations(small_networks):
    class Knowing(torch.nn.Module):
        """Tells the rotation of an image whose top left pixel alone is bright."""

        def forward(self, x):
            corners = torch.stack([x[:, 0, 0, 0], x[:, 0, -1, 0], x[:, 0, -1, -1], x[:, 0, 0, -1]], dim=1)
            return corners

    images = torch.zeros(6, 3, 8, 8, dtype=torch.uint8)
    images[:, :, 0, 0] = 255
    data = datasets.ImageSet(images, torch.tensor([0, 1] * 3), ("a", "b"), "corners", "made here")
    method = torch.nn.Module()
    method.encoder, method.head = Knowing(), torch.nn.Identity()
    method.encoder.register_parameter("device", torch.nn.Parameter(torch.zeros(1)))
    assert rotation_correlation.measure(method, data, data)["rotation accuracy"] == 1


def test_the_race_for_labels_has_three_ways_and_all_labels_at_the_end(course, tmp_path, small_networks):
    found = measured("rotation-labels", course, tmp_path)
    ways = {"supervised from scratch", "RotNet + linear probe", "RotNet + non-linear probe"}
    assert set(found["way"]) == ways
    for way in ways:
        rows = found[found["way"] == way]
        assert rows["per_class"].tolist() == [5, 20, 40] and rows["seeds"].tolist() == [2, 2, 1]


def test_pretexts_choose_stage_and_rate_on_val(course, tmp_path, small_networks):
    found = measured("pretexts", course, tmp_path)
    chosen = found.attrs["settings"]["chosen_on_val"]
    for task in ("random weights", "rotation", "jigsaw", "masked patches"):
        rows = found[found["task"] == task]
        assert rows["chosen"].sum() == 1 and set(rows["stage"]) == {"stage1", "stage2", "stage3", "stage4", "features"}
        on_val = chosen[task]["val"][str(chosen[task]["lr"])]
        assert rows[rows["chosen"]]["stage"].item() == max(on_val, key=on_val.get)


def test_a_minute_on_scenes_compares_with_the_weights_it_started_from(course, tmp_path, small_networks):
    found = measured("rotation-scenes", course, tmp_path)
    assert found["feature"].tolist() == ["random weights", "rotation prediction"] and set(found["seeds"]) == {2}


def test_triplet_mining_watches_every_kind_before_and_after_each_epoch(course, tmp_path, small_networks):
    found = measured("triplet-mining", course, tmp_path)
    for variant in triplet_mining.VARIANTS:
        rows = found[found["variant"] == variant]
        active = rows[rows["quantity"] == "active fraction"]
        assert active["epoch"].tolist() == [0, 1] and active["value"].between(0, 1).all()
        assert rows[rows["quantity"] == "linear probe"]["n"].item() == 40
    assert found.attrs["settings"]["margin"] in triplet_mining.MARGINS


def test_effective_rank_is_the_dimension_of_a_round_cloud_and_1_for_a_line():
    torch.manual_seed(0)
    cloud, line = torch.randn(4_000, 6), torch.randn(50, 1) * torch.ones(1, 6)
    for z, rank, tolerance in ((cloud, 6, 0.05), (line, 1, 1e-3)):
        spectrum = triplet_mining.eigenvalues(z)
        expected = torch.linalg.eigvalsh(torch.cov(z.T, correction=0)).flip(0).clamp(min=0)
        assert torch.allclose(spectrum, expected, atol=1e-4)
        assert triplet_mining.effective_rank(spectrum) == pytest.approx(rank, abs=tolerance)


@pytest.mark.parametrize("method", pretrain.METHODS)
@pytest.mark.parametrize("profile", ["smoke", "laptop", "gpu"])
def test_every_method_is_built_for_every_profile(method, profile):
    built = pretrain.build(method, SETS["train"], profile)
    assert built.name == ("supervised" if method in pretrain.CBRS else method)
    assert built.augment(torch.rand(2, 3, 32, 32)).shape == (2, 3, 32, 32)


def test_snapshots_ship_beside_the_last_epoch(course, tmp_path, monkeypatch, small_networks):
    monkeypatch.setitem(pretrain.SNAPSHOTS, ("simclr", "smoke"), (1,))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "simclr-cifar10@epoch07.json").write_text("{}")  # of another run: not this one's to change
    pretrain.pretrain(course, "simclr", "cifar10", epochs=2, folder=tmp_path / "out")
    first, last = (checkpoints.load(name, tmp_path / "out") for name in ("simclr-cifar10@epoch01", "simclr-cifar10"))
    assert first.card["epochs_run"] == 1 and last.card["epochs_run"] == 2
    assert 0 <= first.card["minutes"] <= last.card["minutes"]
    assert (tmp_path / "out" / "simclr-cifar10@epoch07.json").read_text() == "{}"
    assert not torch.equal(first.encoder.conv1.weight, last.encoder.conv1.weight)


def test_published_recipes_train_only_what_is_not_there(course, monkeypatch, small_networks):
    real, trained = published_recipes.pretrain, []
    monkeypatch.setattr(published_recipes, "pretrain", lambda course, method, *a, **k: (
        trained.append(method), real(course, method, *a, **k)))
    rows, settings, _ = published_recipes.run(course)
    assert trained == ["simclr", "moco"] and len(rows) == 6
    assert {row["quantity"] for row in rows} == {"kNN", "kNN, k 200", "linear probe"}
    assert settings["simclr"]["config"] == pretrain.RECIPES["simclr", "smoke"]
    assert any("RandomGrayscale" in view for view in settings["moco"]["views"])
    assert published_recipes.run(course)[0] == rows and len(trained) == 2
    monkeypatch.setitem(pretrain.RECIPES, ("simclr", "smoke"), pretrain.RECIPES["simclr", "smoke"] | {"lr": 0.05})
    published_recipes.run(course)
    assert trained[2:] == ["simclr"]
    views = pretrain.contrastive_views
    monkeypatch.setattr(pretrain, "contrastive_views", lambda *a, **k: views(*a, **k | {"grey": 0.3}))
    published_recipes.run(course)
    assert trained[3:] == ["simclr", "moco"]
    with pytest.raises(ValueError, match="those of the gpu profile: set COURSE_PROFILE=gpu"):
        published_recipes.run(replace(course, profile="laptop"))
