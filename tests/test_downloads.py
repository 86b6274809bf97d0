"""`storage.fetch` against a server on this machine that trickles, breaks off, forgets ranges or lies."""

import hashlib
import http.server
import os
import threading
import time

import pytest

from course_utils.datasets import DatasetUnavailable, storage

GOOD = bytes(range(256)) * 400  # 100 kB
MD5 = hashlib.md5(GOOD).hexdigest()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """`serve(path, answer) -> url`: answer(handler) writes the reply; `serve.asked` lists (path, Range)."""
    answers, asked = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("Range")))
            answers[self.path](self)

        def log_message(self, *arguments):
            pass

    monkeypatch.setattr(storage, "DOWNLOADS", tmp_path / "downloads")
    monkeypatch.setattr(storage, "TIMEOUT", (1, 0.5))
    http_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()

    def serve(path, answer):
        answers[path] = answer
        return f"http://127.0.0.1:{http_server.server_port}{path}"

    serve.asked = asked
    yield serve
    http_server.shutdown()
    http_server.server_close()
    thread.join()


def reply(handler, body, status=200, length=None):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def whole(handler):
    """A server that does not know ranges."""
    reply(handler, GOOD)


def continues(handler):
    """A server that knows ranges."""
    wanted = handler.headers.get("Range")
    at = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
    reply(handler, GOOD[at:] if at < len(GOOD) else b"", 416 if at >= len(GOOD) else 206 if wanted else 200)


def cut(handler):
    reply(handler, GOOD[:30_000], length=len(GOOD))


def page(handler):
    reply(handler, b"<html>please log in</html>")


def page_cut(handler):
    reply(handler, b"<html>please log in</html>", length=5000)


def names(tmp_path):
    return sorted(os.listdir(tmp_path / "downloads"))


def test_a_broken_download_goes_on_where_it_was_at_the_next_address(server, tmp_path):
    path = storage.fetch([server("/cut", cut), server("/good", continues)], "set.bin", MD5)
    assert path.read_bytes() == GOOD and names(tmp_path) == ["set.bin"]
    assert server.asked == [("/cut", None), ("/good", "bytes=30000-")]


def test_a_server_that_does_not_know_ranges_starts_anew(server):
    assert storage.fetch([server("/cut", cut), server("/good", whole)], "set.bin", MD5).read_bytes() == GOOD


def test_the_next_call_goes_on_where_the_last_one_broke_off(server, tmp_path):
    with pytest.raises(DatasetUnavailable, match=f"/cut: .*{MD5}"):
        storage.fetch([server("/cut", cut)], "set.bin", MD5)
    (left,) = names(tmp_path)
    os.replace(tmp_path / "downloads" / left, tmp_path / "downloads" / "set.bin.999999.part")  # of another process
    os.utime(tmp_path / "downloads" / "set.bin.999999.part", (0, 0))
    assert storage.fetch([server("/good", continues)], "set.bin", MD5).read_bytes() == GOOD
    assert server.asked[-1] == ("/good", "bytes=30000-") and names(tmp_path) == ["set.bin"]


def test_a_download_that_is_running_is_left_alone(server, tmp_path):
    (tmp_path / "downloads").mkdir()
    running = tmp_path / "downloads" / "set.bin.999999.part"
    running.write_bytes(GOOD[:10])
    assert storage.fetch([server("/good", continues)], "set.bin", MD5).read_bytes() == GOOD
    assert running.read_bytes() == GOOD[:10] and server.asked == [("/good", None)]


def test_wrong_bytes_that_were_there_before_are_not_the_next_addresss_fault(server, tmp_path):
    path = storage.fetch([server("/page", page_cut), server("/good", continues)], "set.bin", MD5)
    assert path.read_bytes() == GOOD and names(tmp_path) == ["set.bin"]
    assert [wanted for _, wanted in server.asked] == [None, "bytes=26-", None]


def test_a_part_that_is_complete_or_too_long_is_found_out(server, tmp_path):
    (tmp_path / "downloads").mkdir()
    part = tmp_path / "downloads" / f"set.bin.{os.getpid()}.part"
    for content in (GOOD, GOOD + b"more"):
        part.write_bytes(content)
        assert storage.fetch([server("/good", continues)], "set.bin", MD5).read_bytes() == GOOD
        (tmp_path / "downloads" / "set.bin").unlink()


def test_wrong_bytes_are_not_kept(server, tmp_path):
    with pytest.raises(DatasetUnavailable, match=f"/page: these are other bytes .md5 {MD5} expected"):
        storage.fetch([server("/page", page)], "set.bin", MD5)
    assert names(tmp_path) == []


def test_a_trickle_that_never_stalls_is_given_up(server, monkeypatch):
    monkeypatch.setattr(storage, "WINDOW", 0.5)

    def trickle(handler):
        reply(handler, b"", length=len(GOOD))
        for i in range(100):
            try:
                handler.wfile.write(GOOD[i:i + 1])
            except OSError:  # it has hung up
                return
            time.sleep(0.05)

    started = time.monotonic()
    assert storage.fetch([server("/trickle", trickle), server("/good", whole)], "set.bin", MD5).read_bytes() == GOOD
    assert time.monotonic() - started < 4
    with pytest.raises(DatasetUnavailable, match="less than 10 kB/s over 0.5 seconds"):
        storage.fetch([server("/trickle", trickle)], "other.bin", MD5)


def test_an_interrupted_download_is_kept_for_the_next_call(server, tmp_path, monkeypatch):
    real, calls = storage._copy, []

    def interrupted(raw, file, bar):
        if not calls:
            calls.append(file.write(raw.read(50_000)))
            raise KeyboardInterrupt
        real(raw, file, bar)

    monkeypatch.setattr(storage, "_copy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        storage.fetch([server("/good", continues)], "set.bin", MD5)
    assert storage.fetch([server("/good", continues)], "set.bin", MD5).read_bytes() == GOOD
    assert server.asked == [("/good", None), ("/good", "bytes=50000-")]


def test_a_full_disk_ends_a_download_with_that_reason_and_frees_what_it_took(tmp_path, monkeypatch):
    asked = []

    def full(url, part):
        asked.append(url)
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "DOWNLOADS", tmp_path / "downloads")
    monkeypatch.setattr(storage, "_download", full)
    with pytest.raises(storage.DatasetUnavailable, match="is full: free some room there"):
        storage.fetch(["http://a/set.bin", "http://b/set.bin"], "set.bin", "0" * 32)
    assert len(asked) == 1 and not list(tmp_path.rglob("*.part"))  # another mirror has no more room either
