"""`setup`: environment variables, the banner, equal draws from equal seeds, and stand-ins that say what they are."""

import random
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from course_utils import datasets, settings
from course_utils.datasets import DatasetUnavailable, storage
from course_utils.precision import autocast_dtype
from course_utils.settings import Course, setup


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine without data and without accelerator, on which nothing was announced yet."""
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setattr(storage, "DOWNLOADS", tmp_path / "downloads")
    monkeypatch.setattr(storage, "user_cache", lambda: tmp_path / "user")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    settings._announce_stand_in.cache_clear()
    return tmp_path


@pytest.mark.parametrize("profile", ["smoke", "laptop", "gpu"])
def test_the_profile_comes_from_the_environment(bare, monkeypatch, profile):
    monkeypatch.setenv("COURSE_PROFILE", profile)
    course = setup()
    assert course.profile == profile and course.pick(smoke="smoke", laptop="laptop", gpu="gpu") == profile


def test_without_accelerator_it_is_the_laptop_profile_on_the_cpu(bare):
    course = setup(4)
    assert (course.profile, course.device.type, course.seed) == ("laptop", "cpu", 4)
    assert course.precision in (torch.float32, torch.bfloat16)


def test_with_an_accelerator_it_is_the_gpu_profile(bare, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    course = setup()
    assert (course.profile, course.device.type) == ("gpu", "mps")
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    course = setup()
    assert (course.profile, course.device.type) == ("laptop", "cpu")


def test_cuda_comes_before_the_rest_and_says_its_name(bare, monkeypatch, capsys):
    for module, name, answer in ((torch.backends.mps, "is_available", True), (torch.cuda, "is_available", True),
                                 (torch.cuda, "device_count", 1), (torch.cuda, "is_bf16_supported", True),
                                 (torch.cuda, "get_device_name", "NVIDIA T1000")):
        monkeypatch.setattr(module, name, lambda *_, answer=answer, **__: answer)
    course = setup()
    assert (course.profile, course.device.type, course.precision) == ("gpu", "cuda", torch.bfloat16)
    assert "cuda (NVIDIA T1000), bfloat16" in capsys.readouterr().out
    monkeypatch.setenv("COURSE_DEVICE", "mps")
    assert setup().device.type == "mps"


def test_an_unknown_profile_lists_the_known_ones(bare, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "desktop")
    with pytest.raises(ValueError, match="COURSE_PROFILE='desktop' is not a profile; there are: smoke, laptop, gpu"):
        setup()


@pytest.mark.parametrize("device", ["tpu", "gpu0", "cuda", "cuda:7", "mps", "meta", "cpu:0", "cpu:999"])
def test_a_device_that_is_not_there_is_refused(bare, monkeypatch, device):
    monkeypatch.setenv("COURSE_DEVICE", device)
    with pytest.raises(ValueError, match=f"COURSE_DEVICE='{device}' is not to be had here; there are: cpu"):
        setup()


def test_a_cuda_number_too_high_is_refused(bare, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("COURSE_DEVICE", "cuda:2")
    with pytest.raises(ValueError, match="only 2 CUDA devices"):
        setup()


def test_the_banner_has_three_lines_and_smoke_says_its_numbers_are_none(bare, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    setup()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["profile", "device", "data"]
    assert "NO RESULTS" in lines[0] and "cpu, 1 thread" in lines[1] and "scenes" in lines[2]
    monkeypatch.setenv("COURSE_PROFILE", "laptop")
    setup()
    lines = capsys.readouterr().out.splitlines()
    assert "NO RESULTS" not in lines[0] and "downloaded once" in lines[2]


def test_the_banner_says_where_the_data_comes_from(bare, monkeypatch, capsys):
    for folder, said in ((storage.DOWNLOADS, "data/downloads"), (bare / "stick", "COURSE_DATA")):
        folder.mkdir()
        monkeypatch.setenv("COURSE_DATA", str(folder))
        (folder / "cifar10.zip").touch()
        setup()
        assert f"CIFAR-10 from cifar10.zip in {said}" in capsys.readouterr().out


def test_equal_seeds_make_equal_draws_and_others_do_not(bare):
    def draws(seed):
        setup(seed)
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    first, second, other = draws(1), draws(1), draws(2)
    assert first == second and all(a != b for a, b in zip(first, other, strict=True))


def test_a_course_cannot_be_changed(bare):
    with pytest.raises(FrozenInstanceError):
        setup().profile = "gpu"


# --- stand-ins ------------------------------------------------------------------------------------------

@pytest.fixture
def course():
    return Course("smoke", torch.device("cpu"), torch.float32, 0)


def test_a_stand_in_says_what_it_is_once(bare, course, capsys):
    data = course.natural_images("test", limit=20)
    said = capsys.readouterr().out
    assert data.name == "scenes" and len(data) == 20
    assert "cifar10 is not at hand" in said and "'scenes'" in said and "not photographs" in said and "Tried:" in said
    course.natural_images("val", limit=20)
    assert capsys.readouterr().out == ""


def test_medical_images_have_a_stand_in_of_their_own(bare, course, capsys):
    data = course.medical_images("test", limit=10, size=32)
    assert data.name == "fundus" and data.images.shape[-1] == 32
    assert "pneumoniamnist is not at hand" in capsys.readouterr().out


def test_stand_ins_can_be_forbidden(bare, course, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_STAND_INS", "0")
    with pytest.raises(DatasetUnavailable, match="cifar10"):
        course.natural_images()
    assert capsys.readouterr().out == ""


def test_only_the_smoke_profile_stays_off_the_network(bare, monkeypatch):
    asked = []

    def load(name, split, **options):
        asked.append((name, split, options))
        return name

    monkeypatch.setattr(datasets, "load", load)
    for profile in settings.PROFILES:
        Course(profile, torch.device("cpu"), torch.float32, 0).natural_images("val", limit=7)
    assert [(name, split, options["limit"], options["download"]) for name, split, options in asked] == [
        ("cifar10", "val", 7, False), ("cifar10", "val", 7, True), ("cifar10", "val", 7, True)]


def test_a_real_copy_needs_no_stand_in(bare, course, monkeypatch, capsys):
    real = datasets.load("scenes", "test", limit=10)
    monkeypatch.setattr(datasets, "load", lambda name, split, **options: real)
    assert course.natural_images() is real and capsys.readouterr().out == ""


# --- precision ------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_old_cuda_cards_train_in_float16(monkeypatch, native, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert autocast_dtype(torch.device("cuda")) == expected


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, None)])
def test_a_cpu_trains_in_bfloat16_where_it_has_it(monkeypatch, native, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    assert autocast_dtype(torch.device("cpu")) == expected
    assert autocast_dtype(torch.device("mps")) is None
