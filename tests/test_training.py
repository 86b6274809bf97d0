"""`fit` against a loop written out in plain PyTorch; schedules, interruptions, budgets and broken disks."""

import contextlib
import math
import os

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

from course_utils import augment, encoders, training
from course_utils.datasets.imageset import ImageSet
from course_utils.methods import Supervised
from course_utils.training import History, fit, learning_rate

SETTINGS = dict(epochs=4, batch_size=8, lr=0.05, warmup_epochs=1, seed=3)


def image_set(n=36):  # no multiple of the batch size
    generator = torch.Generator().manual_seed(0)
    return ImageSet(torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8, generator=generator),
                    torch.randint(0, 4, (n,), generator=generator), tuple("abcd"), "noise", "made by this test")


def make(augmented=True):
    torch.manual_seed(1)
    views = nn.Sequential(augment.RandomHorizontalFlip(), augment.GaussianNoise(0.1)) if augmented else None
    return Supervised(encoders.resnet10(width=4), 4, augment=views)


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return all(torch.equal(a[key], b[key]) for key in a)


def stop_after(epoch):
    def stop(done, _):
        if done == epoch + 1:
            raise KeyboardInterrupt
    return stop


def interrupted(method, epoch, checkpoint, **settings):
    """A run that is cut off before the checkpoint of epoch + 1 is written."""
    with contextlib.suppress(KeyboardInterrupt):
        fit(method, image_set(), **{**SETTINGS, **settings}, checkpoint=checkpoint, on_epoch=stop_after(epoch))
    return method


class Diverging(nn.Module):
    """A loss that is finite for `good` batches and then is not."""

    def __init__(self, good, bad=math.nan):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.good, self.bad, self.seen = good, bad, 0

    def forward(self, images, labels):
        self.seen += 1
        return (self.weight * (1.0 if self.seen <= self.good else self.bad)).sum()


# --- the schedule ---------------------------------------------------------------------------------------

def test_the_schedule_is_torchs_cosine():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    oracle = CosineAnnealingLR(optimizer, T_max=50)
    for step in range(50):
        assert learning_rate(step, 50, 0.3) == pytest.approx(oracle.get_last_lr()[0], rel=1e-9)
        optimizer.step(), oracle.step()


def test_the_warm_up_is_linear_and_meets_the_cosine():
    rates = [learning_rate(step, 100, 0.4, warmup=10) for step in range(101)]
    assert rates[:10] == pytest.approx([0.04 * i for i in range(1, 11)])
    assert rates[10:] == pytest.approx([0.2 * (1 + math.cos(math.pi * i / 90)) for i in range(91)])
    assert max(rates) == pytest.approx(0.4) and rates[-1] == pytest.approx(0, abs=1e-12)
    assert learning_rate(500, 100, 0.4) == pytest.approx(0, abs=1e-12)


# --- the loop -------------------------------------------------------------------------------------------

def test_fit_equals_a_loop_written_out_bit_for_bit(monkeypatch):
    monkeypatch.setattr(training, "autocast_dtype", lambda device: None)
    data, method, oracle = image_set(), make(), make().to(memory_format=torch.channels_last)
    history = fit(method, data, **SETTINGS, weight_decay=1e-3)

    optimizer = torch.optim.SGD(oracle.parameters(), lr=1, momentum=0.9, weight_decay=1e-3, nesterov=True)
    oracle.train()
    losses = []
    for epoch in range(4):
        torch.manual_seed(3 * 1_000_003 + epoch)
        order, losses_here = torch.randperm(36), []
        for step in range(4):  # 36 images make four batches of eight
            at = 4 * epoch + step
            cosine = 0.5 * (1 + math.cos(math.pi * (at - 4) / 12))
            optimizer.param_groups[0]["lr"] = 0.05 * (at + 1) / 4 if at < 4 else 0.05 * cosine
            index = order[8 * step:8 * step + 8]
            x = (data.images[index].float() / 255).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(oracle.head(oracle.encoder(oracle.augment(x))), data.labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses_here.append(loss.item())
        losses.append(np.mean(losses_here))
    assert same(method, oracle)
    assert history.loss == pytest.approx(losses, rel=1e-6)
    assert history.column("epoch") == [1, 2, 3, 4]
    assert history.column("lr")[-1] == pytest.approx(0.025 * (1 + math.cos(math.pi * 11 / 12)))


def test_the_same_seed_repeats_and_another_does_not():
    a, b, c = make(), make(), make()
    for method, seed in ((a, 0), (b, 0), (c, 1)):
        fit(method, image_set(), epochs=1, batch_size=8, lr=0.05, seed=seed)
    assert same(a, b) and not same(a, c)


def test_training_learns_what_can_be_learned():
    torch.manual_seed(0)
    labels = torch.arange(64) % 4
    images = torch.randint(0, 60, (64, 3, 16, 16), dtype=torch.uint8)
    images += (labels * 60).to(torch.uint8)[:, None, None, None]
    data = ImageSet(images, labels, tuple("abcd"), "greys", "made by this test")
    history = fit(make(augmented=False), data, epochs=12, batch_size=16, lr=0.05)
    assert history.loss[0] > 1 and history.loss[-1] < 0.3


def test_a_batch_larger_than_the_set_is_the_set():
    calls = []

    class Count(Diverging):
        def forward(self, images, labels):
            calls.append(len(images))
            return super().forward(images, labels)

    fit(Count(99), image_set(5), epochs=2, batch_size=100, lr=0.1)
    assert calls == [5, 5]


def test_no_image_is_seen_twice_in_an_epoch():
    seen = []

    class Watch(Diverging):
        def forward(self, images, labels):
            seen.append((images.flatten(1).double().sum(1) * 255).round().tolist())
            return super().forward(images, labels)

    fit(Watch(99), image_set(), epochs=2, batch_size=8, lr=0.1)
    first, second = sum(seen[:4], []), sum(seen[4:], [])
    assert len(set(first)) == len(set(second)) == 32 and first != second


def test_frozen_parameters_stay():
    method = make()
    method.encoder.conv1.requires_grad_(False)
    before = method.encoder.conv1.weight.clone()
    fit(method, image_set(), epochs=1, batch_size=8, lr=0.1)
    assert torch.equal(method.encoder.conv1.weight, before)


def test_fit_leaves_the_callers_random_numbers_and_mode_alone():
    torch.manual_seed(9)
    expected = torch.rand(3)
    method = make().eval()
    torch.manual_seed(9)
    fit(method, image_set(), epochs=1, batch_size=8, lr=0.05)
    assert torch.equal(torch.rand(3), expected)
    assert not method.training


def test_an_exception_leaves_the_callers_random_numbers_and_mode_alone():
    torch.manual_seed(9)
    expected = torch.rand(3)
    method = Diverging(2).eval()
    torch.manual_seed(9)
    with pytest.raises(FloatingPointError):
        fit(method, image_set(), epochs=1, batch_size=8, lr=0.05)
    assert torch.equal(torch.rand(3), expected)
    assert not method.training


def test_on_epoch_adds_its_metrics_to_the_history():
    method, seen = make(), []
    history = fit(method, image_set(), epochs=2, batch_size=8, lr=0.05,
                  on_epoch=lambda epoch, m: seen.append((epoch, m is method)) or {"accuracy": epoch / 10})
    assert seen == [(1, True), (2, True)] and history.column("accuracy") == [0.1, 0.2]
    assert repr(history).startswith("History(2 epochs, loss ") and history.minutes > 0
    assert repr(History()) == "History(empty)"


@pytest.mark.parametrize("wrong", [dict(epochs=0), dict(batch_size=0), dict(lr=0.0), dict(lr=-1.0)])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="fit needs epochs >= 1"):
        fit(make(), image_set(), **{**SETTINGS, **wrong})


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="0 images"):
        fit(make(), image_set()[:0], **SETTINGS)


# --- interruptions --------------------------------------------------------------------------------------

@pytest.mark.parametrize("epoch", [1, 3])
def test_a_resumed_run_equals_the_undisturbed_one_bit_for_bit(tmp_path, epoch):
    undisturbed = make()
    expected = fit(undisturbed, image_set(), **SETTINGS)
    interrupted(make(), epoch, tmp_path / "run.pt")
    torch.manual_seed(77)  # another process stands elsewhere in its random numbers
    torch.rand(5)
    resumed = make()
    nn.init.zeros_(resumed.head.weight)  # what is there before does not matter
    history = fit(resumed, image_set(), **SETTINGS, checkpoint=tmp_path / "run.pt")
    assert same(resumed, undisturbed)
    assert history.loss == expected.loss and history.column("lr") == expected.column("lr")


def test_a_finished_run_is_loaded_not_trained_again(tmp_path):
    first, again = make(), make()
    history = fit(first, image_set(), **SETTINGS, checkpoint=tmp_path / "run.pt")
    assert fit(again, image_set(), **SETTINGS, checkpoint=str(tmp_path / "run.pt")) == history
    assert same(first, again)
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_metrics_of_numpy_and_torch_survive_a_resume(tmp_path):
    def metrics(epoch, _):
        if epoch == 3:
            raise KeyboardInterrupt
        return {"numpy": np.float64(0.5), "torch": torch.tensor(0.25)}

    with pytest.raises(KeyboardInterrupt):
        fit(make(), image_set(), **SETTINGS, checkpoint=tmp_path / "run.pt", on_epoch=metrics)
    history = fit(make(), image_set(), **SETTINGS, checkpoint=tmp_path / "run.pt")
    assert history.column("numpy") == [0.5, 0.5] and history.column("torch") == [0.25, 0.25]


@pytest.mark.parametrize(("key", "value"), [("lr", 0.1), ("epochs", 5), ("batch_size", 9), ("seed", 4),
                                            ("weight_decay", 0.0), ("warmup_epochs", 0)])
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, key, value):
    interrupted(make(), 1, tmp_path / "run.pt")
    before = (tmp_path / "run.pt").read_bytes()
    with pytest.raises(ValueError, match=f"other settings \\({key}: .* there, {value!r} here\\)"):
        fit(make(), image_set(), **{**SETTINGS, key: value}, checkpoint=tmp_path / "run.pt")
    assert (tmp_path / "run.pt").read_bytes() == before


def test_a_checkpoint_of_another_set_is_refused(tmp_path):
    interrupted(make(), 1, tmp_path / "run.pt")
    with pytest.raises(ValueError, match="images: 36 there, 35 here"):
        fit(make(), image_set(35), **SETTINGS, checkpoint=tmp_path / "run.pt")


def test_a_checkpoint_that_hides_code_is_not_run(tmp_path):
    class Malice:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"config": Malice(), "history": []}, tmp_path / "run.pt")
    with pytest.raises(Exception, match="(?i)weights.?only"):
        fit(make(), image_set(), **SETTINGS, checkpoint=tmp_path / "run.pt")
    assert not (tmp_path / "ran").exists()


def test_a_loss_that_is_not_finite_stops_with_advice_and_keeps_the_checkpoint(tmp_path):
    for bad in (math.nan, math.inf):
        path = tmp_path / f"{bad}.pt"
        with pytest.raises(FloatingPointError, match=r"in epoch 3, by step 4: .*lower lr.*epoch 2 is kept in .*pt"):
            fit(Diverging(9, bad), image_set(), **SETTINGS, checkpoint=path)
        assert torch.load(path, weights_only=True)["history"][-1]["epoch"] == 2


def test_a_diverging_loss_is_noticed_within_an_epoch():
    method = Diverging(3)
    with pytest.raises(FloatingPointError, match=r"in epoch 1, by step 20: "):
        fit(method, image_set(100), epochs=1, batch_size=1, lr=0.1)
    assert method.seen == training.SYNC_EVERY


# --- a time budget --------------------------------------------------------------------------------------

class Ticking:
    """A clock that a test moves by hand; a step of `Slow` takes one second."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Ticking()
    monkeypatch.setattr(training, "time", clock)
    return clock


class Slow(Diverging):
    def __init__(self, clock):
        super().__init__(10**9)
        self.clock, self.rates = clock, []

    def forward(self, images, labels):
        self.clock.now += 1
        return super().forward(images, labels)


def test_a_time_budget_stops_the_run_with_a_cooled_epoch(clock):
    method = Slow(clock)
    history = fit(method, image_set(), epochs=1000, batch_size=8, lr=0.1, max_minutes=0.5)
    assert 28 <= method.seen <= 31
    assert history.column("lr") == sorted(history.column("lr"), reverse=True)
    assert history.column("lr")[-1] < 0.01 * 0.1


def test_a_time_budget_that_is_not_used_up_changes_nothing(clock):
    hasty, calm = make(), make()
    fit(hasty, image_set(), **SETTINGS, max_minutes=60)
    fit(calm, image_set(), **SETTINGS)
    assert same(hasty, calm)


def test_a_resumed_run_has_the_rest_of_its_budget(clock, tmp_path):
    first = Slow(clock)
    with pytest.raises(KeyboardInterrupt):
        fit(first, image_set(), epochs=1000, batch_size=8, lr=0.1, max_minutes=0.5, checkpoint=tmp_path / "run.pt",
            on_epoch=stop_after(3))
    clock.now += 5000  # the night
    second = Slow(clock)
    history = fit(second, image_set(), epochs=1000, batch_size=8, lr=0.1, max_minutes=0.5,
                  checkpoint=tmp_path / "run.pt")
    assert 16 <= second.seen <= 19 and history.column("lr")[-1] < 0.001


def test_time_that_runs_out_between_epochs_adds_no_empty_epoch(clock):
    class Late:
        """Lets the time run out while an epoch is being set up."""

        def perf_counter(self):
            clock.now += 0.5
            return clock.now

    training.time = Late()  # undone by the fixture
    for minutes in np.linspace(0.05, 0.4, 30):
        history = fit(Diverging(10**9), image_set(16), epochs=50, batch_size=8, lr=0.1, max_minutes=float(minutes))
        assert all(loss != 0 for loss in history.loss)


@pytest.mark.parametrize("minutes", [0, -1])
def test_a_budget_of_no_time_is_refused(minutes):
    with pytest.raises(ValueError, match="max_minutes"):
        fit(make(), image_set(), **SETTINGS, max_minutes=minutes)


# --- a disk that fails ----------------------------------------------------------------------------------

def broken_write(monkeypatch, error):
    def save(_, path):
        with open(path, "wb") as file:
            file.write(b"half a checkp")
        raise error

    monkeypatch.setattr(torch, "save", save)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed")])
def test_a_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch, error):
    interrupted(make(), 1, tmp_path / "run.pt")
    before = (tmp_path / "run.pt").read_bytes()
    broken_write(monkeypatch, error)
    with pytest.raises(OSError, match=r"run\.pt .*; the one before it is kept"):
        fit(make(), image_set(), **SETTINGS, checkpoint=tmp_path / "run.pt")
    assert (tmp_path / "run.pt").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_a_folder_that_cannot_be_written_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    interrupted(make(), 1, tmp_path / "run.pt")
    before = (tmp_path / "run.pt").read_bytes()

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="Permission denied.*the one before it is kept"):
        fit(make(), image_set(), **SETTINGS, checkpoint=tmp_path / "run.pt")
    assert (tmp_path / "run.pt").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_folders_on_the_way_are_made(tmp_path):
    fit(Diverging(99), image_set(), epochs=1, batch_size=8, lr=0.1, checkpoint=tmp_path / "a" / "b" / "run.pt")
    assert (tmp_path / "a" / "b" / "run.pt").exists()
