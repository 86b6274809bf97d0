"""`import course_utils` is cheap; `python -m course_utils` does what it says and fails in plain words."""

import http.server
import json
import runpy
import socketserver
import statistics
import subprocess
import sys
import threading

import pytest
import torch

from course_utils import __main__ as command_line
from course_utils import checkpoints, datasets, doctor, scoreboard
from course_utils.datasets import cifar, storage

IMPORT = """
import json, sys, time
import torch
there, started = set(sys.modules), time.perf_counter()
import course_utils
print(json.dumps([time.perf_counter() - started, sorted(set(sys.modules) - there), sorted(course_utils.__all__)]))
"""
HEAVY = {"torchvision", "sklearn", "scipy", "pandas", "matplotlib", "ipywidgets", "IPython", "medmnist", "PIL",
         "requests", "efficientnet_lite_pytorch", "safetensors", "tqdm"}


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Every file that a command writes goes to the temporary folder, and no data of this machine is found."""
    monkeypatch.setattr(checkpoints, "DATA", tmp_path)
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "shipped" / "checkpoints")
    monkeypatch.setattr(scoreboard, "SHIPPED", tmp_path / "shipped" / "results")
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setattr(storage, "DOWNLOADS", tmp_path / "downloads")
    monkeypatch.setattr(storage, "user_cache", lambda: tmp_path / "user")
    return tmp_path


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command as `python -m course_utils` would: (exit status, what it printed, what it complained)."""
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["course_utils", *arguments])
        monkeypatch.delitem(sys.modules, "course_utils.__main__", raising=False)
        with pytest.raises(SystemExit) as end:
            runpy.run_module("course_utils", run_name="__main__")
        return (int(end.value.code), *capsys.readouterr())

    return run


def test_importing_the_package_costs_next_to_nothing_over_torch():
    command = [sys.executable, "-c", IMPORT]
    runs = [json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout) for _ in range(3)]
    assert statistics.median(seconds for seconds, _, _ in runs) < 0.3
    _, imported, public = runs[0]
    assert "course_utils" in imported and "evaluation" in public
    assert not HEAVY & {name.split(".")[0] for name in imported}
    assert not [name for name in imported if name.startswith("course_utils.")]


def test_submodules_load_on_first_use_and_unknown_ones_say_so():
    import course_utils

    assert course_utils.evaluation.__name__ == "course_utils.evaluation"
    assert course_utils.setup is course_utils.settings.setup and course_utils.Course is course_utils.settings.Course
    with pytest.raises(AttributeError, match="no attribute 'evaluations'"):
        course_utils.evaluations  # noqa: B018


def test_the_doctor_finds_this_machine_in_order(run):
    status, said, complained = run("doctor", "--quick")
    assert status == 0 and "All set" in said and "PROBLEM" not in said and not complained
    for word in ("Python", "torch", "browser", "free disk", "memory", "profile ", "data roots", "scenes, fundus"):
        assert word in said
    assert "speed" not in said and "mirror" not in said


@pytest.mark.parametrize(("load", "told"), [(0.1, False), (40.0, True)])
def test_the_doctor_sees_that_other_programs_are_busy(run, monkeypatch, load, told):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(doctor, "load", lambda: load)
    assert ("other programs kept 40.0 of them busy" in run("doctor", "--quick")[1]) == told


def test_the_doctor_names_a_folder_that_cannot_be_written(run, monkeypatch):
    monkeypatch.setattr(storage, "writable", lambda folder: False)
    status, said, _ = run("doctor", "--quick")
    assert status == 1 and "PROBLEM     nothing can be written to" in said


def test_the_doctor_names_what_is_missing(run, monkeypatch):
    import importlib.metadata
    import shutil

    real = importlib.metadata.version

    def version(name):
        if name == "medmnist":
            raise importlib.metadata.PackageNotFoundError(name)
        return "2.8.1+cpu" if name == "torch" else real(name)

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 2**30))
    monkeypatch.setattr(doctor, "installed_memory", lambda: 2.0)
    monkeypatch.setattr(doctor.webbrowser, "get", lambda: (_ for _ in ()).throw(doctor.webbrowser.Error("none")))
    status, said, _ = run("doctor", "--quick")
    assert status == 1 and "All set" not in said and "browser     none found" in said
    assert "PROBLEM     medmnist is missing: pip install" in said and "PROBLEM     less than 2 GiB" in said
    assert "PROBLEM     2.0 GiB of memory are few" in said
    assert "PROBLEM     torch 2.8.1+cpu is too old, 2.9 is needed" in said and said.count("PROBLEM") == 4


@pytest.mark.parametrize(("answers", "status"), [((None, "answers 404"), 0), (("ConnectionError", "answers 500"), 1)])
def test_the_doctor_asks_the_mirrors(run, monkeypatch, answers, status):
    found = dict(zip(("https://one.example/c", "https://two.example/c"), answers, strict=True))
    monkeypatch.setattr(cifar, "MIRRORS", tuple(found))
    monkeypatch.setattr(doctor, "reachable", found.get)
    monkeypatch.setattr(doctor, "speed", lambda: 500.0)
    got, said, _ = run("doctor")
    assert got == status and ("PROBLEM     no mirror" in said) == bool(status)
    assert f"two.example: {answers[1]}" in said and ("one.example: ready" in said) == (status == 0)
    assert "speed       500 images/s" in said
    monkeypatch.setattr(cifar, "on_disk", lambda: storage.DOWNLOADS / "cifar10.zip")  # then it can do without them
    got, said, _ = run("doctor")
    assert got == 0 and "All set" in said and f"two.example: {answers[1]}" in said


def test_an_unreachable_mirror_is_told_from_a_ready_one():
    with socketserver.TCPServer(("127.0.0.1", 0), type("Ok", (http.server.BaseHTTPRequestHandler,), {
            "do_GET": lambda self: self.send_error(404 if "gone" in self.path else 200), "log_message": lambda *_: None,
    })) as server:
        threading.Thread(target=lambda: [server.handle_request() for _ in range(2)]).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        assert doctor.reachable(f"{address}/there") is None and doctor.reachable(f"{address}/gone") == "answers 404"
    assert doctor.reachable("http://127.0.0.1:9/refused") == "ConnectionError"


def test_minutes_per_notebook_follow_the_speed(monkeypatch):
    rows = [{"notebook": "01_pixel_space", "value": 3.0, "low": None, "high": None, "n": 1, "seeds": 1}]
    scoreboard.record("notebook-minutes", rows, title="", profile="laptop", source="", folder=scoreboard.SHIPPED,
                      images_per_second=800)
    assert "01_pixel_space: about 6 min from top to bottom, laptop profile" in doctor.speed_lines(400.0)[1]


def test_the_speed_is_that_of_a_real_training(monkeypatch):
    assert 1 < doctor.speed(0.01) < 1e6


def test_the_doctor_does_not_stumble_over_a_wrong_setting(run, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "desktop")
    status, _, complained = run("doctor")
    assert status == 1 and complained.startswith("doctor: COURSE_PROFILE='desktop'") and "Traceback" not in complained


def test_data_loads_a_set_or_says_why_not(run, monkeypatch):
    loaded = []
    with monkeypatch.context() as patched:
        patched.setattr(datasets, "load", lambda *asked: loaded.append(asked) or f"{asked[1]} is here")
        status, said, _ = run("data", "cifar10")
    assert status == 0 and loaded == [("cifar10", "train"), ("cifar10", "test")] and "test is here" in said
    status, _, complained = run("data", "nonsense")
    assert status == 1 and "there is no data set 'nonsense'; known: scenes" in complained


def test_an_unknown_experiment_lists_the_known_ones(run):
    status, _, complained = run("experiment", "nonsense")
    assert status == 1 and complained.startswith("experiment: unknown experiment 'nonsense'; there are: ")
    assert "pixel-knn" in complained and "pretrain" not in complained and "Traceback" not in complained


def test_an_unknown_method_lists_the_known_ones(run):
    status, _, complained = run("pretrain", "magic", "scenes")
    assert status == 1 and "unknown method 'magic'; there are: supervised" in complained


def test_no_command_and_an_unknown_one_show_the_usage(run):
    for arguments in ((), ("dance",)):
        status, _, complained = run(*arguments)
        assert status == 2 and "usage: python -m course_utils" in complained


def test_pretrain_writes_a_checkpoint_that_loads_and_cleans_up(run, monkeypatch, folders):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    status, said, _ = run("pretrain", "supervised", "scenes", "--seed", "3")
    assert status == 0 and "wrote " in said
    found = checkpoints.load("supervised-scenes", checkpoints.own("smoke"))
    assert found.card["seed"] == 3 and found.card["profile"] == "smoke" and found.card["epochs_run"] == 1
    assert found.card["dataset"] == "scenes" and "made by code" in found.card["source"]
    assert {"val_n", "val_knn", "val_linear", "test_n", "test_knn", "test_linear"} <= found.card["metrics"].keys()
    assert len(found.card["history"]) == 1 and found.card["config"]["epochs"] == 1
    written = sorted(path.relative_to(folders).as_posix() for path in folders.rglob("*") if path.is_file())
    # Not among the student's own, which may be of the laptop profile: the numbers of a smoke run are no results.
    assert written == [f"runs/smoke-checkpoints/supervised-scenes.{kind}" for kind in ("json", "safetensors")]


def test_no_epochs_and_a_place_that_cannot_be_written_are_refused_before_the_training(run, monkeypatch, folders):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    status, _, complained = run("pretrain", "supervised", "scenes", "--epochs", "0")
    assert status == 1 and "epochs=0" in complained
    monkeypatch.setattr(storage, "writable", lambda folder: False)
    status, said, complained = run("pretrain", "supervised", "scenes")
    assert status == 1 and complained.startswith("pretrain: nothing can be written to") and "epoch" not in said


def test_ship_writes_where_the_course_keeps_its_own(run, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    asked = []
    from course_utils.experiments import pretrain

    def stand_in(course, method, dataset, **options):
        asked.append((course.profile, method, dataset, options))
        raise OSError("enough")

    monkeypatch.setattr(pretrain, "pretrain", stand_in)
    for ship, folder in (((), checkpoints.own("smoke")), (("--ship",), checkpoints.SHIPPED)):
        status, _, complained = run("pretrain", "supervised", "--epochs", "2", "--minutes", "1.5", *ship)
        assert status == 1 and complained == "pretrain: enough\n"
        assert asked[-1] == ("smoke", "supervised", "cifar10",
                             {"seed": 0, "epochs": 2, "minutes": 1.5, "folder": folder})


def test_results_prints_every_table_with_its_caption(run):
    assert run("results")[0] == 0
    row = {"feature": "pixels", "value": 0.25, "low": 0.2, "high": 0.3, "n": 100, "seeds": 1}
    about = dict(title="A title", profile="laptop", source="made by this test")
    scoreboard.record("mine", [row], **about, folder=scoreboard.OWN)
    status, said, _ = run("results")
    assert status == 0 and "mine: A title" in said and "0.25" in said and "n = 100 test cases" in said


def test_the_module_runs_from_another_folder(tmp_path):
    command = [sys.executable, "-m", "course_utils", "--help"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0 and all(command in done.stdout for command in command_line.COMMANDS)


def test_every_command_has_a_function():
    assert set(command_line.COMMANDS) == {"doctor", "data", "pretrain", "experiment", "results"}
