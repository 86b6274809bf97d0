"""JupyterLab on a free loopback port and a headless Chromium, for the panels of every notebook.

Nothing is downloaded: the browser is the machine's own (`apt-get install chromium`), playwright only drives it
(`pip install -e ".[browser]"`). Where one of them is missing the tests are skipped, or fail if COURSE_BROWSER=1.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "browser"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# The page is to be as on stage, so settings are JupyterLab's own but for two: no question about news covers the page,
# and cells out of sight stay in it, so that a test finds all panels of a notebook.
SETTINGS = {"apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
            "notebook-extension/tracker": {"windowingMode": "none"}}


def missing(what: str):
    """Skip, or fail where COURSE_BROWSER=1 says that this machine must have it."""
    line = f"no {what}: nothing is tried in a browser here (tests/browser/conftest.py says what they need)"
    if os.environ.get("COURSE_BROWSER") == "1":
        pytest.fail(line)
    pytest.skip(line)


@pytest.fixture(scope="session")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright")
    found = next(filter(None, map(shutil.which, NAMES)), None) or missing(f"browser ({', '.join(NAMES)}) on the PATH")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, headless=True, args=quiet)
        yield running
        running.close()


@pytest.fixture(scope="session")
def lab(browser, tmp_path_factory):
    """The address (with its token) of a JupyterLab over copies of the notebooks, and the folder of its kernels."""
    home = tmp_path_factory.mktemp("jupyter")
    shutil.rmtree(BUILD, ignore_errors=True)
    (BUILD / "notebooks").mkdir(parents=True)
    for notebook in (ROOT / "notebooks").glob("0*.ipynb"):
        shutil.copy(notebook, BUILD / "notebooks")
    for plugin, settings in SETTINGS.items():
        file = home / "jupyterlab_settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = os.urandom(12).hex()
    own = {f"{name}_DIR": str(home / name.lower()) for name in ("JUPYTER_CONFIG", "JUPYTER_RUNTIME",
                                                                "JUPYTERLAB_SETTINGS", "JUPYTERLAB_WORKSPACES")}
    own |= {"IPYTHONDIR": str(home / "ipython"), "COURSE_PROFILE": "smoke"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
               "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={BUILD}"]
    with open(BUILD / "jupyterlab.log", "w") as log:
        server = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, f"JupyterLab did not start: see {log.name}"
                time.sleep(0.5)
        yield address, token, home / "jupyter_runtime"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="session")
def latencies(lab):
    """Seconds from key press to picture, by panel; kept in latency.json and printed."""
    measured = {}
    yield measured
    (BUILD / "latency.json").write_text(json.dumps(measured, indent=1))
    print("\nseconds from key press to new picture:")
    for name, panel in measured.items():
        print(f"  {name:20} median {panel['median']:.3f}  worst {panel['worst']:.3f}  ({panel['presses']} presses)")
