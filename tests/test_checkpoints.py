"""Checkpoints: a round trip that keeps what matters, damage that is told from absence, and no pickle, ever."""

import json
import os
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from course_utils import checkpoints, encoders
from course_utils.checkpoints import CheckpointError, available, load, save
from course_utils.methods import Supervised

CARD = {"dataset": "noise", "source": "made by this test", "seed": 0, "metrics": {"test_knn": 0.5}}


@pytest.fixture
def method():
    torch.manual_seed(0)
    method = Supervised(encoders.resnet10(width=4), 3)
    method(torch.rand(16, 3, 32, 32), torch.arange(16) % 3)  # BatchNorm statistics of its own
    return method.eval()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of shipped checkpoints, empty."""
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "shipped"


def test_a_round_trip_keeps_half_precision_weights_and_exact_statistics(method, folder):
    method.encoder.bn1.running_var[0] = 1e-9  # nothing at all, in float16
    path = save(method, "supervised-noise", CARD, folder)
    found = load("supervised-noise")
    assert path == folder / "supervised-noise.safetensors" and not found.encoder.training and not found.head.training
    parameters = dict(method.encoder.named_parameters())
    for key, value in found.encoder.state_dict().items():
        original = method.encoder.state_dict()[key]
        expected = original.half().float() if key in parameters else original
        assert torch.equal(value, expected) and value.dtype == original.dtype, key


def test_features_and_scores_are_the_same_after_a_round_trip(method, folder):
    save(method, "supervised-noise", CARD, folder)
    found = load("supervised-noise")
    x = torch.rand(4, 3, 32, 32)
    assert torch.allclose(found.encoder(x), method.encoder(x), atol=1e-2)
    assert torch.allclose(found.head(found.encoder(x)), method.logits(x), atol=1e-2)


def test_the_file_holds_float16_weights_and_float32_buffers_and_nothing_else(method, folder):
    method.augment = torch.nn.BatchNorm2d(3)  # neither encoder nor head
    method.to(memory_format=torch.channels_last)
    tensors = load_file(save(method, "a-b", CARD, folder))
    assert all(key.startswith(("encoder.", "head.")) for key in tensors)
    assert tensors["encoder.conv1.weight"].dtype == tensors["head.bias"].dtype == torch.float16
    assert tensors["encoder.bn1.running_var"].dtype == tensors["encoder.normalize.mean"].dtype == torch.float32
    assert tensors["encoder.bn1.num_batches_tracked"].dtype == torch.int64


def test_the_card_says_how_the_weights_came_about(method, folder):
    save(method, "supervised-noise", CARD, folder)
    card = load("supervised-noise").card
    assert CARD.items() <= card.items()
    assert card["name"] == "supervised-noise" and card["method"] == "supervised"
    assert card["encoder"] == {"name": "resnet10", "stem": "fast", "width": 4}
    assert "cores" in card["machine"] and len(card["date"]) == 10


def test_saving_leaves_the_method_alone_and_no_other_files(method, folder):
    before = {key: value.clone() for key, value in method.state_dict().items()}
    save(method, "a-b", CARD, folder)
    save(method, "a-b", CARD, folder)
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())
    assert sorted(file.name for file in folder.iterdir()) == ["a-b.json", "a-b.safetensors"]


def test_shipped_and_own_are_both_at_hand_and_shipped_come_first(method, folder):
    assert available() == []
    save(method, "b-set", {**CARD, "note": "shipped"}, folder)
    save(method, "b-set", {**CARD, "note": "own"}, checkpoints.OWN)
    save(method, "a-set@epoch05", CARD, checkpoints.OWN)
    assert available() == ["a-set@epoch05", "b-set"]
    assert load("b-set").card["note"] == "shipped"
    assert load("b-set", checkpoints.OWN).card["note"] == "own"
    assert load("a-set@epoch05").card["name"] == "a-set@epoch05"


def test_a_missing_name_lists_the_known_ones_and_the_command(method, folder):
    with pytest.raises(CheckpointError, match="no checkpoint 'simclr-cifar10'; there are: none"):
        load("simclr-cifar10")
    save(method, "b-set", CARD, folder)
    with pytest.raises(CheckpointError, match=r"there are: b-set\. .*python -m course_utils pretrain simclr cifar10$"):
        load("simclr-cifar10@epoch10")
    with pytest.raises(CheckpointError, match="there are: none"):
        load("b-set", checkpoints.OWN)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def without_card(path):
    path.with_suffix(".json").unlink()


def with_half_a_card(path):
    path.with_suffix(".json").write_text(path.with_suffix(".json").read_text()[:40])


def with_a_card_of_another_kind(path):
    path.with_suffix(".json").write_text("[1, 2]")


def with_other_shapes(path):
    card = json.loads(path.with_suffix(".json").read_text())
    card["encoder"]["width"] = 8
    path.with_suffix(".json").write_text(json.dumps(card))


def of_an_unknown_encoder(path):
    card = json.loads(path.with_suffix(".json").read_text())
    card["encoder"]["name"] = "vit"
    path.with_suffix(".json").write_text(json.dumps(card))


def without_a_tensor(path):
    tensors = load_file(path)
    del tensors["encoder.bn1.running_mean"]
    save_file(tensors, path)


def with_a_tensor_too_many(path):
    save_file(load_file(path) | {"encoder.extra": torch.zeros(1)}, path)


@pytest.mark.parametrize("damage", [truncated, empty, without_card, with_half_a_card, with_a_card_of_another_kind,
                                    with_other_shapes, of_an_unknown_encoder, without_a_tensor, with_a_tensor_too_many],
                         ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_says_so_and_what_to_do(method, folder, damage):
    damage(save(method, "a-b", CARD, folder))
    with pytest.raises(CheckpointError, match=r"a-b\.safetensors cannot be used: (?s:.*)git checkout -- .*train again"):
        load("a-b")


def test_a_pickle_in_disguise_is_refused_and_not_run(method, folder, tmp_path):
    class Malice:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = save(method, "a-b", CARD, folder)
    for content in (Malice(), method.state_dict()):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match="cannot be used"):
            load("a-b")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("room", [0, 1])  # for none of the two files, or for the weights only
def test_a_failed_write_keeps_the_checkpoint_before(method, folder, monkeypatch, room):
    before = save(method, "a-b", CARD, folder).read_bytes()
    real, written = Path.write_bytes, []

    def fail(path, content):
        written.append(path)
        if len(written) <= room:
            return real(path, content)
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    next(method.encoder.parameters()).data += 1
    with pytest.raises(OSError, match="No space left"):
        save(method, "a-b", CARD, folder)
    assert (folder / "a-b.safetensors").read_bytes() == before and load("a-b").card["name"] == "a-b"
    assert available() == ["a-b"]


def test_weights_and_the_card_of_another_run_are_no_pair(method, folder, monkeypatch):
    assert not checkpoints.there("a-b", folder)
    save(method, "a-b", CARD, folder)
    assert checkpoints.there("a-b", folder)
    real, renamed = os.replace, []

    def killed_before_the_card(old, new):
        if renamed:
            raise KeyboardInterrupt
        renamed.append(new)
        real(old, new)

    monkeypatch.setattr(os, "replace", killed_before_the_card)
    next(method.encoder.parameters()).data += 1
    with pytest.raises(KeyboardInterrupt):
        save(method, "a-b", CARD, folder)
    assert not checkpoints.there("a-b", folder)  # the weights are new, the card is old: the run is to be done again
    with pytest.raises(CheckpointError, match=r"a-b\.json is not the card of these weights"):
        load("a-b", folder)


def test_a_full_disk_is_named_and_keeps_the_checkpoint_before(method, folder):
    before, (soft, hard) = save(method, "a-b", CARD, folder).read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))  # no file may grow beyond half of it
    try:
        with pytest.raises(OSError, match=r"could not write the checkpoint .*a-b\.safetensors .*is kept\. Free some"):
            save(method, "a-b", CARD, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (folder / "a-b.safetensors").read_bytes() == before
    assert sorted(file.name for file in folder.iterdir()) == ["a-b.json", "a-b.safetensors"]


def test_a_read_only_folder_is_named_and_keeps_the_checkpoint_before(method, read_only):
    before = save(method, "a-b", CARD, read_only.folder).read_bytes()
    with read_only(), pytest.raises(OSError, match=r"could not write the checkpoint .*a-b\.safetensors .*is kept"):
        save(method, "a-b", CARD, read_only.folder)
    assert (read_only.folder / "a-b.safetensors").read_bytes() == before


def test_a_card_that_json_cannot_hold_leaves_no_weights_without_a_card(method, folder):
    with pytest.raises(TypeError):
        save(method, "a-b", {"seed": torch.zeros(2)}, folder)
    assert available() == []


def test_the_shipped_checkpoints_can_all_be_loaded():
    for name in checkpoints._names(checkpoints.SHIPPED):
        found = load(name, checkpoints.SHIPPED)
        assert found.card["name"] == name
        assert {"dataset", "source", "config", "seed", "minutes", "weights", "metrics", "machine"} <= found.card.keys()
        assert torch.isfinite(found.encoder(torch.rand(1, 3, 32, 32))).all()
