"""What every test needs: one thread, no window, none of the caller's settings, no file left in the repository."""

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import pytest
import torch

matplotlib.use("Agg")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def decoded(tmp_path_factory):
    """One folder of downloads for the whole session, so that a real set is decoded once."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(autouse=True)
def elsewhere(decoded, tmp_path, monkeypatch):
    """Own files go to the temporary folder; COURSE_DATA stays, since tests on real images are asked for by it."""
    from course_utils import checkpoints, scoreboard
    from course_utils.datasets import storage

    for name in [name for name in os.environ if name.startswith("COURSE_") and name != "COURSE_DATA"]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(checkpoints, "OWN", tmp_path / "runs" / "checkpoints")
    monkeypatch.setattr(scoreboard, "OWN", tmp_path / "runs" / "results")
    monkeypatch.setattr(storage, "DOWNLOADS", decoded)
    yield tmp_path
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        left = pyplot.get_fignums()
        pyplot.close("all")
        assert not left, "a figure was left open"


@pytest.fixture
def read_only():
    """`with read_only(): …` in which `read_only.folder` cannot be written, by root neither: it is someone else's."""
    with tempfile.TemporaryDirectory() as folder:  # tmp_path lies below a folder that is private

        @contextmanager
        def forbid():
            user = os.geteuid()
            os.chmod(folder, 0o555)
            if user == 0:
                os.seteuid(65534)
            try:
                yield
            finally:
                os.seteuid(user)
                os.chmod(folder, 0o755)

        forbid.folder = Path(folder)
        yield forbid
