"""Finding and fetching D4RL's files, against a server on this machine."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from d4rl_builders import arrays, save

from core.options import OptionError
from tasks import make_task, task_names
from tasks.catalogue import nearest_local
from tasks.d4rl_names import D4RL

pytest.importorskip("h5py")
HOPPER = D4RL["hopper-medium-v2"]
NAME = "hopper_medium-v2.hdf5"


class Server(BaseHTTPRequestHandler):
    """Serves `content`; ranges unless told not to; hangs up after `cut` bytes."""

    content, ranges, cut, status, elsewhere = b"", True, None, None, None
    asked: list[str | None] = []

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        if self.elsewhere:
            self.send_response(302)
            self.send_header("Location", self.elsewhere)
            self.end_headers()
            return
        first = int(wanted[len("bytes=") : -1]) if wanted and self.ranges else 0
        body, total = self.content[first:], len(self.content)
        if self.status or (first and not body):
            self.send_response(self.status or 416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.end_headers()
            return
        self.send_response(206 if wanted and self.ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        self.end_headers()
        self.wfile.write(body[: self.cut])

    def log_message(self, *args):
        pass


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "data"


@pytest.fixture
def server(tmp_path, folder, monkeypatch):
    handler = type("Handler", (Server,), {"asked": [], "content": save(tmp_path / "good", arrays()).read_bytes()})
    service = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    monkeypatch.setattr("tasks.d4rl_names.SERVER", f"http://127.0.0.1:{service.server_port}")
    monkeypatch.setattr("tasks.d4rl_files.SCHEME", "http://127.0.0.1")
    yield handler
    service.shutdown()
    service.server_close()


def refusal(name: str) -> str:
    with pytest.raises(OptionError) as error:
        make_task(name).dataset()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_placed_in_the_folder_is_found(folder):
    folder.mkdir()
    save(folder / NAME, arrays())
    assert len(make_task("hopper-medium-v2").dataset()) == 13


def test_the_home_folder_is_looked_at_too(folder, tmp_path):
    home = tmp_path / "home" / ".d4rl" / "datasets"
    home.mkdir(parents=True)
    save(home / NAME, arrays())
    assert len(make_task("hopper-medium-v2").dataset()) == 13


def test_a_missing_file_is_downloaded_checked_and_kept(server, folder):
    assert len(make_task("hopper-medium-v2").dataset()) == 13
    assert [file.name for file in folder.iterdir()] == [NAME]
    make_task("hopper-medium-v2").dataset()
    assert len(server.asked) == 1


def test_a_file_that_several_processes_miss_is_fetched_once(server, folder, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: make_task("hopper-medium-v2").prepare(), range(4)))
    assert len(server.asked) == 1
    assert [file.name for file in folder.iterdir()] == [NAME]


def test_an_interrupted_download_resumes_where_it_stopped(server, folder):
    server.cut = 1000
    assert f"got 1000 bytes of {len(server.content)}; run again to resume" in refusal("hopper-medium-v2")
    assert [file.name for file in folder.iterdir()] == [f"{NAME}.part"]
    server.cut = None
    assert len(make_task("hopper-medium-v2").dataset()) == 13
    assert server.asked == [None, "bytes=1000-"]
    assert (folder / NAME).read_bytes() == server.content
    assert [file.name for file in folder.iterdir()] == [NAME]


def test_a_server_without_ranges_starts_over(server, folder):
    folder.mkdir()
    (folder / f"{NAME}.part").write_bytes(b"x" * 500)
    server.ranges = False
    assert len(make_task("hopper-medium-v2").dataset()) == 13


def test_a_part_that_is_already_whole_is_only_checked(server, folder):
    folder.mkdir()
    (folder / f"{NAME}.part").write_bytes(server.content)
    assert len(make_task("hopper-medium-v2").dataset()) == 13


@pytest.mark.parametrize("extra", [b"x" * 9])
def test_a_part_longer_than_the_file_is_thrown_away(server, folder, extra):
    folder.mkdir()
    (folder / f"{NAME}.part").write_bytes(server.content + extra)
    assert "bytes of" in refusal("hopper-medium-v2")
    assert not list(folder.iterdir())


def test_a_download_that_is_not_the_dataset_leaves_nothing(server, folder, tmp_path):
    server.content = save(tmp_path / "bad", arrays(obs_dim=17)).read_bytes()
    line = refusal("hopper-medium-v2")
    assert "thrown away" in line
    assert "observations has shape (15, 17)" in line
    assert not list(folder.iterdir())


@pytest.mark.parametrize("status", [404, 500])
def test_a_server_that_has_it_not_is_named_with_what_else_can_be_done(server, folder, status):
    server.status = status
    line = refusal("hopper-medium-v2")
    for words in (f"no {NAME} in {folder}", ".d4rl/datasets", f"{HOPPER.url}", str(status), "--task local:"):
        assert words in line
    assert not list(folder.iterdir())


def test_without_a_network_too(folder, monkeypatch):
    monkeypatch.setattr("tasks.d4rl_names.SERVER", "https://127.0.0.1:9")
    line = refusal("antmaze-umaze-v0")
    assert "cannot be fetched" in line
    assert "--task local:pointmaze-umaze" in line


@pytest.mark.parametrize("elsewhere", ["http://localhost/x.hdf5", "ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_a_server_that_sends_to_an_unsafe_address_is_not_followed(server, folder, elsewhere):
    server.elsewhere = elsewhere
    # urllib itself does not go to a file
    line = refusal("hopper-medium-v2")
    assert "addresses must begin with" in line or "is not allowed" in line
    assert not list(folder.iterdir())


def test_addresses_that_are_not_encrypted_are_refused(server, folder, monkeypatch):
    monkeypatch.setattr("tasks.d4rl_files.SCHEME", "https://")
    assert "must begin with https://" in refusal("hopper-medium-v2")
    assert not server.asked


@pytest.mark.parametrize("known", [True, False])
def test_a_known_digest_is_the_file_s(server, folder, known):
    folder.mkdir()
    digest = hashlib.sha256(server.content if known else b"another").hexdigest()
    (folder / f"{NAME}.sha256").write_text(f"{digest}  {NAME}\n")
    if known:
        assert len(make_task("hopper-medium-v2").dataset()) == 13
    else:
        assert "its sha256 is" in refusal("hopper-medium-v2")
        assert [file.name for file in folder.iterdir()] == [f"{NAME}.sha256"]


@pytest.mark.parametrize("told", [True, False])
def test_a_download_without_end_is_refused(server, folder, monkeypatch, told):
    monkeypatch.setattr("tasks.d4rl_files.LARGEST", 1000)
    if not told:
        monkeypatch.setattr("tasks.d4rl_files._length", lambda headers: None)
    assert "expected at most 1 kB" in refusal("hopper-medium-v2")


def test_a_folder_that_cannot_be_made_is_named(tmp_path, folder, server):
    folder.write_text("a file in its place")
    assert str(folder) in refusal("hopper-medium-v2")


@pytest.mark.parametrize("name", D4RL)
def test_every_published_task_has_a_local_neighbour(name):
    assert nearest_local(D4RL[name]) in task_names()


@pytest.mark.parametrize(
    ("typed", "meant"), [("hoper-medium-v2", "hopper-medium-v2"), ("local:pointmaze-unaze", "local:pointmaze-umaze")]
)
def test_a_misspelled_task_is_answered_with_the_nearest(typed, meant):
    with pytest.raises(OptionError, match=meant):
        make_task(typed)
