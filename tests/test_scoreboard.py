"""Results: rows without an interval, n or seeds are refused; files are whole; own runs stand beside shipped ones."""

import json
import math
import multiprocessing
import os
import re

import cover
import numpy as np
import pytest
import torch

from course_utils import scoreboard
from course_utils.files import whole_file
from course_utils.scoreboard import caption, cite, experiments, record, select, table

ROW = {"feature": "pixels", "value": 0.41234567, "low": 0.4, "high": 0.42, "n": 10_000, "seeds": 1}
ABOUT = dict(title="A test", profile="laptop", source="made by this test")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder of shipped results, empty."""
    monkeypatch.setattr(scoreboard, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "shipped"


def test_what_is_recorded_can_be_read_back(folder):
    path = record("knn", [ROW, {**ROW, "feature": "simclr", "value": 0.8}], **ABOUT, folder=folder, k=20, rates=[0.1])
    assert path == folder / "knn.json" and experiments() == ["knn"]
    found = table("knn")
    assert found["value"].tolist() == [0.4123, 0.8] and found["n"].tolist() == [10_000] * 2
    assert found["profile"].tolist() == ["laptop"] * 2 and not found["own"].any()
    assert found.attrs["settings"] == {"k": 20, "rates": [0.1]} and found.attrs["title"] == "A test"
    assert "cores" in found.attrs["machine"] and len(found.attrs["date"]) == 10


@pytest.mark.parametrize("key", ["value", "low", "high", "n", "seeds"])
def test_a_row_without_its_interval_n_or_seeds_is_refused(folder, key):
    with pytest.raises(ValueError, match="a result needs a finite value and low, high, n, seeds; got"):
        record("knn", [ROW, {k: v for k, v in ROW.items() if k != key}], **ABOUT, folder=folder)
    assert not folder.exists()


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "0.4"])
def test_a_value_that_is_no_finite_number_is_refused(folder, value):
    with pytest.raises(ValueError, match="finite value"):
        record("knn", [{**ROW, "value": value}], **ABOUT, folder=folder)
    assert not folder.exists()


@pytest.mark.parametrize("wrong", [{"n": None}, {"n": 0}, {"seeds": math.nan}, {"seeds": 0}])
def test_n_and_seeds_are_counts(folder, wrong):
    with pytest.raises(ValueError, match="a result needs"):
        record("knn", [{**ROW, **wrong}], **ABOUT, folder=folder)


def test_numbers_of_numpy_and_torch_are_plain_numbers_in_the_file(folder):
    row = {**ROW, "value": np.float32(0.5), "low": torch.tensor(0.4), "high": np.float64(0.6), "n": np.int64(50)}
    content = json.loads(record("knn", [row], **ABOUT, folder=folder).read_text())
    assert content["rows"] == [{**ROW, "value": 0.5, "low": 0.4, "high": 0.6, "n": 50}]


def test_an_interval_that_does_not_exist_is_none_in_the_file_and_said(folder):
    record("knn", [{**ROW, "low": math.nan, "high": math.nan}, {**ROW, "feature": "b", "low": None, "high": None}],
           **ABOUT, folder=folder)
    assert "NaN" not in (folder / "knn.json").read_text()
    for feature in ("pixels", "b"):
        assert cite(table("knn"), feature=feature) == "0.412 (no interval, n = 10,000, one run, laptop profile)"


def test_settings_that_json_cannot_hold_leave_the_file_before(folder):
    before = record("knn", [ROW], **ABOUT, folder=folder).read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        record("knn", [ROW], **ABOUT, folder=folder, rate=math.nan)
    assert [(file.name, file.read_bytes()) for file in folder.iterdir()] == [("knn.json", before)]


def test_own_rows_come_second_and_are_marked(folder):
    record("knn", [ROW], **ABOUT, folder=folder)
    record("knn", [{**ROW, "value": 0.3}], **{**ABOUT, "profile": "smoke", "title": "mine"}, folder=scoreboard.OWN)
    record("other", [ROW], **ABOUT, folder=scoreboard.OWN)
    found = table("knn")
    assert found["own"].tolist() == [False, True] and found["profile"].tolist() == ["laptop", "smoke"]
    assert found["value"].tolist() == [0.4123, 0.3] and found.attrs["title"] == "A test"
    assert table("knn", scoreboard.OWN)["value"].tolist() == [0.3]
    assert experiments() == ["knn", "other"] and table("other")["own"].tolist() == [True]


def test_results_that_are_not_there_say_how_to_make_them():
    with pytest.raises(FileNotFoundError, match="no results for 'knn'; .*python -m course_utils experiment knn"):
        table("knn")


def test_select_wants_exactly_one_row(folder):
    record("knn", [ROW, {**ROW, "feature": "b"}], **ABOUT, folder=folder)
    assert select(table("knn"), feature="b", n=10_000)["value"] == 0.4123
    for where, count in (({"feature": "c"}, 0), ({"n": 10_000}, 2)):
        with pytest.raises(KeyError, match=f"{count} rows match"):
            select(table("knn"), **where)


def test_a_number_is_cited_with_its_interval_n_seeds_and_profile(folder):
    record("knn", [ROW, {**ROW, "feature": "b", "seeds": 5}], **ABOUT, folder=folder)
    assert cite(table("knn"), feature="pixels") == (
        "0.412 (95 % interval 0.400–0.420, n = 10,000, one run, laptop profile)")
    assert "5 seeds" in cite(table("knn"), feature="b")
    assert caption(table("knn")).startswith(
        "made by this test; n = 10,000 test cases; seeds: 1–5; 95 % intervals;\nlaptop profile, ")


def write_often(folder, value):
    for _ in range(40):
        record("knn", [{**ROW, "value": value}] * 50, **ABOUT, folder=folder)


def test_two_writers_at_once_leave_a_whole_file(folder):
    record("knn", [ROW], **ABOUT, folder=folder)
    can_fork = "fork" in multiprocessing.get_all_start_methods() and not torch.cuda.is_available()
    context = multiprocessing.get_context("fork" if can_fork else "spawn")
    writers = [context.Process(target=write_often, args=(folder, value)) for value in (0.25, 0.75)]
    for writer in writers:
        writer.start()
    values = set()
    while any(writer.is_alive() for writer in writers):
        values.add(json.loads((folder / "knn.json").read_text(encoding="utf-8"))["rows"][-1]["value"])
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert values <= {0.4123, 0.25, 0.75}
    assert [file.name for file in folder.iterdir()] == ["knn.json"]


def test_the_shipped_results_are_real_runs():
    from course_utils.checkpoints import DATA

    for path in (DATA / "results").glob("*.json"):
        found = table(path.stem, DATA / "results")
        assert set(found["profile"]) <= {"laptop", "gpu"}, path.name
        assert (found["low"].isna() | (found["low"] <= found["value"] + 1e-4)).all()
        assert (found["high"].isna() | (found["high"] >= found["value"] - 1e-4)).all()


def test_what_a_killed_process_left_beside_a_file_is_removed_after_an_hour(tmp_path):
    names = ("a.json.0123abcd.tmp", "a.json.4567cdef.tmp", "b.json.89ab0123.tmp")
    old, new, others = (tmp_path / name for name in names)
    for left in (old, new, others):
        left.write_text("half")
    for left in (old, others):
        os.utime(left, (0, 0))
    with whole_file(tmp_path / "a.json") as path:
        path.write_text("whole")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "a.json", new, others])


def test_the_picture_in_the_readme_says_what_was_measured():
    [alt] = re.findall(r"!\[([^]]*)\]\(cover\.png\)", (cover.ROOT / "README.md").read_text(encoding="utf-8"))
    measured = table("scoreboard-cifar10", cover.ROOT / "data" / "results")
    expected = [f"{select(measured, feature=name, metric='kNN')['value']:.2f}" for name in cover.NAMES]
    assert re.findall(r"0\.\d+", alt) == expected and (cover.ROOT / "cover.png").exists()
