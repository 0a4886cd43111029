"""Downloads from a local server: broken, resumed, wrong, absent, too large for the disk."""

import hashlib
import io
import tarfile
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.pipeline.runs import error_line
from yolox.cli.common import run
from yolox.cli.download import main
from yolox.data import download
from yolox.data.download import KNOWN, Download, fetch, unpack
from yolox.errors import DataError

DATA = bytes(range(256)) * 400
MD5 = hashlib.md5(DATA).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Gives DATA; the server's `cut` is where its next answers break off, `ranges` whether it
    knows parts.
    """

    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        if self.path.endswith("absent"):
            self.send_error(404)
            return
        start = 0
        if server.ranges and self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(DATA) - start))
        self.end_headers()
        stop = server.cut.pop(0) if server.cut else len(DATA)
        self.wfile.write(DATA[start:stop])

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.asked, found.cut, found.ranges = [], [], True
    thread = Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


def item(server, name="data.bin", **more):
    url = f"http://127.0.0.1:{server.server_address[1]}/{name}"
    return Download(url, "unused", "free", **more)


def test_a_broken_transfer_goes_on_where_it_stopped(server, tmp_path):
    server.cut = [5000, 70_000]
    path = fetch(item(server, md5=MD5), tmp_path)
    assert path.read_bytes() == DATA
    assert server.asked == [None, "bytes=5000-", "bytes=70000-"]
    assert [p.name for p in tmp_path.iterdir()] == ["data.bin"]


def test_a_part_of_an_earlier_call_is_taken_up(server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(DATA[:9000])
    assert fetch(item(server, md5=MD5), tmp_path).read_bytes() == DATA
    assert server.asked == ["bytes=9000-"]


def test_a_server_without_parts_begins_anew(server, tmp_path):
    server.ranges, server.cut = False, [5000]
    assert fetch(item(server, md5=MD5), tmp_path).read_bytes() == DATA


def test_a_connection_that_breaks_every_time_leaves_the_part(server, tmp_path):
    server.cut = [5000] * download.TRIES
    with pytest.raises(DataError, match=r"data\.bin: .*what is there stays in .*data\.bin\.part"):
        fetch(item(server), tmp_path)
    assert (tmp_path / "data.bin.part").stat().st_size == 5000


def test_a_wrong_content_gets_no_name(server, tmp_path):
    with pytest.raises(DataError, match="not what its publisher states"):
        fetch(item(server, md5="0" * 32), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_written_over(server, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"mine")
    assert fetch(item(server), tmp_path).read_bytes() == b"mine"
    with pytest.raises(DataError, match=r"data\.bin is not what .* move it away"):
        fetch(item(server, md5=MD5), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == b"mine"
    assert server.asked == []


def test_what_is_absent_is_not_asked_for_again(server, tmp_path):
    with pytest.raises(DataError, match="absent: HTTP Error 404"):
        fetch(item(server, "absent"), tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize(("holds", "factor"), [(None, 1), ("inside", 2)])
def test_a_full_disk_is_seen_before(server, tmp_path, monkeypatch, holds, factor):
    free = len(DATA) * factor
    usage = download.shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DataError, match="GB are free"):
        fetch(item(server, holds=holds), tmp_path)
    assert list(tmp_path.iterdir()) == []


def archive(kind, names):
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as file:
            for name in names:
                file.writestr(name, "x")
    else:
        with tarfile.open(fileobj=buffer, mode="w") as file:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = 1
                file.addfile(info, io.BytesIO(b"x"))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_stay_in_their_folder(tmp_path, kind):
    path, out = tmp_path / f"a.{kind}", tmp_path / "out"
    path.write_bytes(archive(kind, ["one/two.txt"]))
    unpack(path, out)
    assert (out / "one" / "two.txt").read_text() == "x"
    for data in (archive(kind, ["../evil.txt"]), b"damaged" * 100):
        path.write_bytes(data)
        with pytest.raises(DataError, match="cannot be unpacked"):
            unpack(path, out)
    assert not (tmp_path / "evil.txt").exists()


def test_the_command_names_what_it_knows(capsys, tmp_path, monkeypatch, server):
    assert run(main, ["yolox_huge"]) == 2
    assert "'yolox_huge' is none of voc2007" in error_line(capsys)
    monkeypatch.setitem(KNOWN, "yolox_nano", (item(server, "nano.pth"),))
    assert run(main, ["yolox_nano", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "nano.pth").read_bytes() == DATA
    assert "SHA-256" in capsys.readouterr().err
