"""The downloader against a local server that cuts, lies and stalls."""

import contextlib
import hashlib
import io
import re
import shutil
import socket
import tarfile
import time
from dataclasses import replace

import pytest
from answering import Handler, answering
from drawn import draw_pets, draw_voc

from segdemo.core.labels import VOC
from segdemo.data import download as dl
from segdemo.data.download import Archive, DownloadError, Release, download, fetch, unpack
from segdemo.data.sources import open_dataset

NOISE = hashlib.shake_256(b"noise").digest(400_000)  # longer than one chunk, and not compressible


class Misbehaviour:
    """What the server does wrong, and what it saw.

    Each of ``script`` serves one request: a function of the handler, or None to behave.
    """

    def __init__(self):
        self.files, self.script, self.requests = {}, [], []
        self.etag, self.ranges = '"one"', True


class Server(Handler):
    def do_GET(self):
        state = self.server.state
        state.requests.append(dict(self.headers))
        act = state.script.pop(0) if state.script else None
        with contextlib.suppress(ConnectionError):
            (act or Server.behave)(self)

    def behave(self, send=None, offset=0):
        """Answer as RFC 9110 says, but with ``send`` bytes only, or a range ``offset`` bytes off."""
        state = self.server.state
        body = state.files.get(self.path)
        if body is None:
            return self.send_error(404)
        start, status = 0, 200
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and state.ranges and self.headers.get("If-Range", state.etag) == state.etag:
            start, status = int(wanted[1]), 206
            if start >= len(body):
                return self.send_error(416)
        self.send_response(status)
        self.send_header("ETag", state.etag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start + offset}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start + offset :][:send])

    def cut(self):
        self.behave(send=150_000)

    def stall(self):
        self.behave(send=100_000)
        self.wfile.flush()
        time.sleep(1.5)

    def drip(self):
        self.behave(send=70_000)
        for byte in range(15):
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.1)

    def busy(self):
        self.send_error(503)

    def page(self):
        text = b"<html>The file has moved to our new site.</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def endless(self):
        self.send_response(200)
        self.end_headers()
        for _ in range(100):
            self.wfile.write(bytes(50_000))

    def from_the_wrong_place(self):
        self.behave(offset=5)


@pytest.fixture
def server():
    with answering(Server) as (url, httpd):
        httpd.state = Misbehaviour()
        httpd.state.url = url
        yield httpd.state


def offer(server, name="data.bin", body=NOISE, unpacked=10_000_000):
    server.files[f"/{name}"] = body
    return Archive(f"{server.url}/{name}", len(body), hashlib.sha256(body).hexdigest(), unpacked)


def get(archive, folder, **options):
    return fetch(archive, folder, **{"timeout": 0.5, "tries": 3, "wait": 0.0, **options})


def tar_of(folder, names, compression=""):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as tar:
        for name in names:
            tar.add(folder / name, name)
    return buffer.getvalue()


# --- one file ---------------------------------------------------------------------------------------------


def test_download_streams_with_progress(server, tmp_path):
    steps = []
    file = get(offer(server), tmp_path, progress=lambda *step: steps.append(step))
    assert file.read_bytes() == NOISE
    assert len(steps) > 3
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)
    assert steps[-1] == ("data.bin", len(NOISE), len(NOISE))
    assert [path.name for path in tmp_path.iterdir()] == ["data.bin"]


def test_a_verified_file_is_not_fetched_again(server, tmp_path):
    archive = offer(server)
    get(archive, tmp_path)
    get(archive, tmp_path)
    assert len(server.requests) == 1


def test_a_cut_connection_is_continued_where_it_broke(server, tmp_path):
    server.script = [Server.cut, Server.cut]
    assert get(offer(server), tmp_path, tries=1).read_bytes() == NOISE
    assert [r.get("Range") for r in server.requests] == [None, "bytes=150000-", "bytes=300000-"]
    assert server.requests[1]["If-Range"] == '"one"'


def test_a_later_call_continues(server, tmp_path):
    def interrupt(_, done, total):
        if done > 100_000:
            raise KeyboardInterrupt

    archive = offer(server)
    with pytest.raises(KeyboardInterrupt):
        get(archive, tmp_path, progress=interrupt)
    assert get(archive, tmp_path).read_bytes() == NOISE
    assert int(server.requests[1]["Range"][6:-1]) > 100_000


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    server.ranges = False
    server.script = [Server.cut]
    assert get(offer(server), tmp_path).read_bytes() == NOISE
    assert len(server.requests) == 2


def test_a_file_that_changed_in_between_is_fetched_whole(server, tmp_path):
    old = offer(server)
    server.script = [Server.cut, Server.busy]
    with pytest.raises(DownloadError):
        get(old, tmp_path, tries=1)
    server.etag = '"two"'
    new = offer(server, body=NOISE[::-1])
    assert get(new, tmp_path).read_bytes() == NOISE[::-1]


def test_a_part_from_another_address_is_not_continued(server, tmp_path):
    other = offer(server, "data.bin")
    server.script = [Server.cut, Server.busy]
    with pytest.raises(DownloadError):
        get(other, tmp_path, tries=1)
    server.files["/mirror/data.bin"] = NOISE
    get(replace(other, url=f"{server.url}/mirror/data.bin"), tmp_path)
    assert "Range" not in server.requests[-1]


def test_a_continuation_from_the_wrong_place_is_not_believed(server, tmp_path):
    server.script = [Server.cut, Server.from_the_wrong_place]
    assert get(offer(server), tmp_path).read_bytes() == NOISE
    assert len(server.requests) == 3


def test_halves_that_do_not_fit_are_fetched_once_more_in_full(server, tmp_path):
    archive = offer(server)
    (tmp_path / "data.bin.part").write_bytes(bytes(100_000))
    (tmp_path / "data.bin.part.json").write_text(f'{{"url": "{archive.url}", "validator": null}}')
    assert get(archive, tmp_path).read_bytes() == NOISE
    assert [r.get("Range") for r in server.requests] == ["bytes=100000-", None]


@pytest.mark.parametrize("stalled", [Server.stall, Server.drip])
def test_a_stall_times_out_and_is_tried_again(server, tmp_path, stalled):
    server.script = [stalled]
    start = time.monotonic()
    assert get(offer(server), tmp_path, timeout=0.3).read_bytes() == NOISE
    assert time.monotonic() - start < 1.4  # it did not wait for the server to have mercy
    assert "Range" in server.requests[1]


def test_a_server_that_only_stalls_is_given_up(server, tmp_path):
    def mute(handler):
        time.sleep(0.5)

    server.script = [mute] * 3
    with pytest.raises(DownloadError, match=r"timed out.*check the connection"):
        get(offer(server), tmp_path, timeout=0.1)
    assert len(server.requests) == 3


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.script = [Server.busy, Server.busy]
    assert get(offer(server), tmp_path).read_bytes() == NOISE


def test_a_missing_file_is_not_asked_for_again(server, tmp_path):
    archive = replace(offer(server), url=f"{server.url}/gone.tar")
    with pytest.raises(DownloadError, match=r"gone\.tar answers 404 Not Found: check the address"):
        get(archive, tmp_path)
    assert len(server.requests) == 1


def test_no_connection(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        archive = Archive(f"http://127.0.0.1:{unused.getsockname()[1]}/x.tar", 1, "0" * 64, 1)
        with pytest.raises(DownloadError, match="check the connection"):
            get(archive, tmp_path)


@pytest.mark.parametrize("body", [NOISE[:-1], NOISE + b"x"])
def test_a_file_of_another_size_is_refused_before_it_is_fetched(server, tmp_path, body):
    archive = offer(server)
    server.files["/data.bin"] = body
    with pytest.raises(DownloadError, match=f"offers {len(body)} bytes instead of 400000"):
        get(archive, tmp_path)
    assert not (tmp_path / "data.bin").exists()


def test_a_web_page_instead_of_the_file_is_refused(server, tmp_path):
    server.script = [Server.page]
    with pytest.raises(DownloadError, match="offers 48 bytes"):
        get(offer(server), tmp_path)


def test_a_wrong_checksum_is_refused_and_the_file_deleted(server, tmp_path):
    archive = offer(server)
    server.files["/data.bin"] = NOISE[:-1] + b"!"
    with pytest.raises(DownloadError, match="wrong checksum and was deleted"):
        get(archive, tmp_path)
    assert not list(tmp_path.glob("*.bin*.part"))
    assert not (tmp_path / "data.bin").exists()
    server.files["/data.bin"] = NOISE
    assert get(archive, tmp_path).read_bytes() == NOISE


def test_an_endless_answer_is_cut_off(server, tmp_path):
    server.script = [Server.endless]
    with pytest.raises(DownloadError, match="sends more than 400000 bytes"):
        get(offer(server), tmp_path)
    assert not list(tmp_path.glob("*.part"))


# --- unpacking --------------------------------------------------------------------------------------------


def archive_with(path, *members):
    with tarfile.open(path, "w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["../evil", "a/../../evil"])
def test_unpack_refuses_paths_that_lead_out(tmp_path, name):
    file = archive_with(tmp_path / "x.tar", (tarfile.TarInfo(name), b"evil"))
    with pytest.raises(DownloadError, match="leads out of it"):
        unpack(file, tmp_path / "in" / "to", 100)
    assert not list(tmp_path.rglob("evil"))


def test_unpack_keeps_absolute_paths_inside(tmp_path):
    target = tmp_path / "absolute"
    file = archive_with(tmp_path / "x.tar", (tarfile.TarInfo(str(target)), b"evil"))
    unpack(file, tmp_path / "into", 100)
    assert not target.exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_unpack_refuses_links_and_devices(tmp_path, kind):
    member = tarfile.TarInfo("link")
    member.type, member.linkname = kind, "/etc/passwd"
    file = archive_with(tmp_path / "x.tar", (member, b""))
    with pytest.raises(DownloadError, match="no plain file"):
        unpack(file, tmp_path / "into", 100)
    assert not list((tmp_path / "into").iterdir())


def test_unpack_refuses_bombs(tmp_path, monkeypatch):
    file = archive_with(tmp_path / "x.tar", *((tarfile.TarInfo(f"f{i}"), bytes(50)) for i in range(3)))
    unpack(file, tmp_path / "a", 150)
    with pytest.raises(DownloadError, match="more than it should"):
        unpack(file, tmp_path / "b", 149)
    assert len(list((tmp_path / "b").iterdir())) == 2
    monkeypatch.setattr(dl, "MAX_MEMBERS", 2)
    with pytest.raises(DownloadError, match="more than it should"):
        unpack(file, tmp_path / "c", 150)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:400], lambda b: b"no tar", lambda b: b[:60] + b"?" * 30 + b[90:]]
)
def test_unpack_of_a_damaged_archive(tmp_path, damage):
    (tmp_path / "noise").write_bytes(NOISE)
    (tmp_path / "x.tar.gz").write_bytes(damage(tar_of(tmp_path, ["noise"], "gz")))
    with pytest.raises(DownloadError, match="is damaged"):
        unpack(tmp_path / "x.tar.gz", tmp_path / "into", 10**6)


# --- whole datasets ---------------------------------------------------------------------------------------


@pytest.fixture
def voc_release(server, tmp_path):
    draw_voc(tmp_path / "made", VOC)
    archive = offer(server, "voc.tar", tar_of(tmp_path / "made", ["VOCdevkit"]))
    return Release((archive,), "VOCdevkit/VOC2012", "VOCdevkit/VOC2012")


def test_voc_is_downloaded_once_and_usable(server, tmp_path, voc_release):
    target = tmp_path / "data"
    root = download("voc", target, release=voc_release, wait=0)
    assert root == target / "VOCdevkit" / "VOC2012"
    assert len(open_dataset("voc", target).samples("train_aug")) == 5
    assert {path.name for path in target.iterdir()} <= {"VOCdevkit", ".voc-download.lock"}
    assert download("voc", target, release=voc_release) == root  # present: skipped
    assert download("voc", root) == root
    assert len(server.requests) == 1


def test_pets_come_in_two_archives_compressed_or_not(server, tmp_path):
    made = draw_pets(tmp_path / "made", {"pug": 3}, official=True)
    archives = (
        offer(
            server, "images.tar.gz", tar_of(made, ["images"])
        ),  # the official one is named so, and is plain
        offer(server, "annotations.tar.gz", tar_of(made, ["annotations"], "gz")),
    )
    root = download("pets", tmp_path / "data", release=Release(archives, ".", "oxford-iiit-pet"), wait=0)
    assert len(open_dataset("pets", root).samples("all")) == 3


def test_nothing_appears_until_all_is_well(server, tmp_path, voc_release):
    server.script = [lambda handler: handler.behave(send=70_000), Server.busy]
    with pytest.raises(DownloadError):
        download("voc", tmp_path / "data", release=voc_release, tries=1, wait=0)
    assert not (tmp_path / "data" / "VOCdevkit").exists()
    assert download("voc", tmp_path / "data", release=voc_release, wait=0).is_dir()


def test_another_dataset_in_the_archive_is_refused(server, tmp_path):
    made = draw_pets(tmp_path / "made", {"pug": 1})
    release = Release((offer(server, "x.tar", tar_of(made, ["images"])),), ".", "VOCdevkit/VOC2012")
    with pytest.raises(DownloadError, match="is not the dataset voc"):
        download("voc", tmp_path / "data", release=release)
    assert not (tmp_path / "data" / "VOCdevkit").exists()


def test_an_incomplete_dataset_is_not_touched(server, tmp_path, voc_release):
    mine = tmp_path / "VOCdevkit" / "VOC2012" / "notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(DownloadError, match="move it away"):
        download("voc", tmp_path, release=voc_release)
    assert mine.read_text() == "mine"
    assert not server.requests


def test_disk_space_is_asked_for_first(server, tmp_path, voc_release, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(dl.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match=r"0\.0 GB free and the download needs"):
        download("voc", tmp_path / "data", release=voc_release)
    assert not server.requests


def test_two_downloads_into_one_folder(tmp_path, voc_release):
    (tmp_path / "data").mkdir()
    with (
        dl.FileLock(tmp_path / "data" / ".voc-download.lock"),
        pytest.raises(DownloadError, match="Another download"),
    ):
        download("voc", tmp_path / "data", release=voc_release)


def test_a_destination_that_cannot_be_written(tmp_path, voc_release):
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="Cannot write to"):
        download("voc", tmp_path / "file" / "data", release=voc_release)


def test_unknown_dataset(tmp_path):
    with pytest.raises(DownloadError, match="voc, pets"):
        download("imagenet", tmp_path)


def test_official_releases_are_complete():
    assert set(dl.RELEASES) == {"voc", "pets"}
    for release in dl.RELEASES.values():
        for archive in release.archives:
            assert re.fullmatch("[0-9a-f]{64}", archive.sha256)
            assert archive.unpacked > archive.size > 10**7
    assert dl.RELEASES["voc"].archives[0].name == "VOCtrainval_11-May-2012.tar"
