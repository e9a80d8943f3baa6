import io
import json
import os
import shutil
import threading
import time
import zipfile
from functools import partial

import numpy as np
import pytest
from archive_files import make_zip
from photo_files import noise_png
from PIL import Image
from tiny import bright, write_model
from waiting import once

from segdemo import zoo
from segdemo.core import label_maps
from segdemo.core.files import NotFoundError, disk_usage
from segdemo.core.labels import PETS
from segdemo.data.formats import ExchangeError
from segdemo.inference import jobs as module
from segdemo.inference.batch import BatchError
from segdemo.inference.batch_formats import FormatError
from segdemo.inference.jobs import Jobs
from segdemo.inference.predict import Predictor

png = partial(noise_png, np.random.default_rng(0))
ALL = ["label_map", "overlay", "cutout", "coco", "csv"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    write_model(tmp_path / "home" / "models" / "colours", "colours", PETS, *bright(3, 0, 1))


@pytest.fixture
def jobs():
    return Jobs()


@pytest.fixture
def photos(tmp_path):
    """Paths of three photos."""
    paths = [tmp_path / f"{name}.png" for name in ("a", "b", "c d")]
    for path in paths:
        path.write_bytes(png())
    return paths


def read(job):
    with zipfile.ZipFile(job.result) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_photos_and_zips_become_one_zip(jobs, photos, tmp_path):
    entries = {"trip/a.png": png(), "trip/readme.txt": b"words", "bad.jpg": b"words", "deep/inner.zip": b"PK"}
    archive = make_zip(tmp_path / "trip.zip", entries)
    job = jobs.submit("ann", [*photos, archive], "colours", ALL)
    assert (job.progress.state, job.before, job.wish.photos, job.wish.left_out) == ("queued", 0, 5, 2)
    originals = [path.read_bytes() for path in photos]
    for path in (*photos, archive):
        path.unlink()  # uploads are cleared away
    assert jobs.work()
    job = jobs.get(job.id, "ann")
    assert (job.progress.state, job.progress.done, job.progress.failed) == ("done", 4, 1)
    (name, why), *_ = job.progress.why
    assert name == "bad.jpg"
    assert why.startswith("bad.jpg is not a photo")
    found = read(job)
    stems = ["a-2", "a", "b", "c_d"]
    for folder in ("label_maps", "overlays", "cutouts"):
        assert sorted(n for n in found if n.startswith(folder)) == [f"{folder}/{stem}.png" for stem in stems]
    assert found.keys() >= {"coco.json", "classes.csv", "labels.json", "not_segmented.txt"}
    photo = np.asarray(Image.open(io.BytesIO(originals[1])))
    expected = Predictor(zoo.served_model("colours"))(photo).label_map
    np.testing.assert_array_equal(label_maps.decode_png(found["label_maps/b.png"], PETS), expected)
    assert found["not_segmented.txt"].startswith(b"bad.jpg: ")
    assert len(job.previews()) == 4
    assert not (job.folder / "in").exists()
    assert not jobs.work()


def test_only_its_owner_reaches_a_job(jobs, photos):
    job = jobs.submit("ann", photos, "colours", ["csv"])
    for call in (jobs.get, jobs.cancel, jobs.resume, jobs.delete):
        for id_, owner in (
            (job.id, "bob"),
            (job.id, ""),
            ("0" * 32, "ann"),
            ("../../x", "ann"),
            (None, "ann"),
            ([], ""),
        ):
            with pytest.raises(NotFoundError, match="no such batch"):
                call(id_, owner)
    assert jobs.of("bob") is None
    assert jobs.of("ann").id == job.id
    nobodys = jobs.submit("", photos, "colours", ["csv"])
    assert jobs.of("") is None
    assert jobs.get(nobodys.id, "").id == nobodys.id
    with pytest.raises(NotFoundError):
        jobs.get(nobodys.id, "ann")


def test_one_at_a_time_in_their_order(jobs, photos):
    ids = [jobs.submit(owner, photos, "colours", ["csv"]).id for owner in ("ann", "bob", "cid")]
    assert [jobs.get(id_, owner).before for id_, owner in zip(ids, ("ann", "bob", "cid"), strict=True)] == [
        0,
        1,
        2,
    ]
    with pytest.raises(BatchError, match="has not ended"):
        jobs.submit("ann", photos, "colours", ["csv"])
    assert jobs.work()
    assert jobs.get(ids[0], "ann").result
    assert [jobs.get(id_, owner).before for id_, owner in zip(ids[1:], ("bob", "cid"), strict=True)] == [0, 1]
    jobs.cancel(ids[1], "bob")
    assert jobs.work()
    assert jobs.get(ids[2], "cid").progress.state == "done"
    assert jobs.get(ids[1], "bob").progress.state == "cancelled"


def many(tmp_path, number=300):
    return make_zip(tmp_path / "many.zip", {f"{i:03}.png": png() for i in range(number)})


def begun(jobs, id_, owner, least=5):
    once(lambda: jobs.get(id_, owner).progress.done >= least)


def test_cancelled_and_resumed(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TELL_SECONDS", 0)
    archive = many(tmp_path)
    whole = jobs.submit("bob", [archive], "colours", ["label_map", "csv"])
    jobs.work()
    job = jobs.submit("ann", [archive], "colours", ["label_map", "csv"])
    thread = jobs.watch(0.01)
    begun(jobs, job.id, "ann")
    with pytest.raises(BatchError, match="cancel it first"):
        jobs.delete(job.id, "ann")
    jobs.cancel(job.id, "ann")
    once(lambda: jobs.get(job.id, "ann").ended)
    done = jobs.get(job.id, "ann").progress.done
    assert 5 <= done < 300
    jobs.close()
    thread.join()
    others = Jobs()  # the server was started again
    others.resume(job.id, "ann")
    assert others.get(job.id, "ann").progress.state == "queued"
    assert others.work()
    found = others.get(job.id, "ann")
    assert (found.progress.state, found.progress.done) == ("done", 300)
    assert read(found) == read(others.get(whole.id, "bob"))
    others.delete(job.id, "ann")
    with pytest.raises(NotFoundError):
        others.get(job.id, "ann")


def test_a_job_goes_on_after_the_server_was_ended(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TELL_SECONDS", 0)
    job = jobs.submit("ann", [many(tmp_path)], "colours", ["csv"])
    thread = jobs.watch(0.01)
    begun(jobs, job.id, "ann")
    jobs.close()
    thread.join()
    assert jobs.get(job.id, "ann").progress.state == "running"
    others = Jobs()
    assert others.work()
    assert others.get(job.id, "ann").progress.done == 300


def test_two_processes_do_not_do_it_twice(jobs, photos):
    job = jobs.submit("ann", photos, "colours", ["csv"])
    did = []
    threads = [threading.Thread(target=lambda: did.append(Jobs().work())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert jobs.get(job.id, "ann").progress.state == "done"


def test_what_is_a_day_old_is_cleared_away(jobs, photos):
    old = jobs.submit("ann", photos, "colours", ["csv"])
    jobs.work()
    waiting = jobs.submit("bob", photos, "colours", ["csv"])
    (jobs.root / "rubbish").mkdir()
    yesterday = time.time() - 90_000
    for path in (old.folder / "status.json", waiting.folder / "status.json", jobs.root / "rubbish"):
        os.utime(path, (yesterday, yesterday))
    jobs.tidy()
    assert [path.name for path in jobs.root.glob("[!.]*")] == [waiting.id]


def test_bad_input_ends_in_a_sentence(jobs, photos, tmp_path, monkeypatch):
    (tmp_path / "no.zip").write_bytes(b"words")
    empty = make_zip(tmp_path / "empty.zip", {"readme.txt": b"words"})
    cases = [
        ([], "colours", ["csv"], BatchError, "no photos"),
        (photos, "colours", [], FormatError, "Nothing is to be written"),
        (photos, "colours", ["exe"], FormatError, "There is no format 'exe'"),
        (photos, "colours", [["csv"]], FormatError, "There is no format"),
        (photos, "colors", ["csv"], zoo.UnknownModelError, "no trained model"),
        ([tmp_path / "no.zip"], "colours", ["csv"], ExchangeError, "not a ZIP"),
        ([empty], "colours", ["csv"], BatchError, "There is no photo in it"),
        ([tmp_path / "gone.png"], "colours", ["csv"], BatchError, "not there any more"),
    ]
    for files, model, formats, error, sentence in cases:
        with pytest.raises(error, match=sentence) as caught:
            jobs.submit("ann", files, model, formats)
        assert str(tmp_path) not in str(caught.value)
    monkeypatch.setenv("SEGDEMO_MAX_BATCH_PHOTOS", "2")
    with pytest.raises(BatchError, match="up to 2 photos"):
        jobs.submit("ann", photos, "colours", ["csv"])
    assert not list(jobs.root.glob("[!.]*"))
    assert not list(jobs.root.glob(".*.new"))


def test_0_is_no_limit_of_a_batch(jobs, photos, monkeypatch):
    monkeypatch.setenv("SEGDEMO_MAX_BATCH_PHOTOS", "0")
    monkeypatch.setenv("SEGDEMO_MAX_BATCH_GB", "0")
    job = jobs.submit("ann", photos, "colours", ["csv"])
    jobs.work()
    assert jobs.get(job.id, "ann").progress.state == "done"
    monkeypatch.setenv("SEGDEMO_MAX_BATCH_GB", "0.000000001")
    with pytest.raises(BatchError, match="A batch has up to 1e-09 GB here"):
        jobs.submit("ann", photos, "colours", ["csv"])


def test_hostile_archives(jobs, tmp_path):
    names = {"../../out.png": png(), "/etc/x.png": png(), "ok/..\\..\\y.png": png(), "good.png": png()}
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    archive = make_zip(tmp_path / "evil.zip", names)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(link, "/etc/passwd")
    job = jobs.submit("ann", [archive], "colours", ["label_map"])
    assert (job.wish.photos, job.wish.left_out) == (1, 4)
    jobs.work()
    assert [n for n in read(jobs.get(job.id, "ann")) if n.endswith(".png")] == ["label_maps/good.png"]
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("zeros.png", b"\0" * 50_000_000)
    data = bytearray(bomb.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    # Says that it unpacks to more than a batch may
    data[at + 24 : at + 28] = (4_200_000_000).to_bytes(4, "little")
    bomb.write_bytes(data)
    with pytest.raises(ExchangeError, match="more than 4 GB"):
        jobs.submit("bob", [bomb], "colours", ["label_map"])


def test_none_of_the_photos_can_be_used(jobs, tmp_path):
    job = jobs.submit(
        "ann", [make_zip(tmp_path / "bad.zip", {"a.png": b"x", "b.png": b""})], "colours", ["csv"]
    )
    jobs.work()
    progress = jobs.get(job.id, "ann").progress
    assert (progress.state, progress.failed) == ("failed", 2)
    assert progress.message.startswith("None of the photos could be used")


def test_room_is_limited(jobs, photos, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    job = jobs.submit("ann", photos, "colours", ["csv"], "address")
    with pytest.raises(BatchError, match="waiting already"):
        jobs.submit("bob", photos, "colours", ["csv"], "address")
    jobs.cancel(job.id, "ann")
    monkeypatch.setenv("SEGDEMO_MAX_BATCHES_GB", "0.000001")
    with pytest.raises(BatchError, match="The batches fill the 1e-06 GB"):
        jobs.submit("bob", photos, "colours", ["csv"])


def test_no_one_fills_the_disk_of_all(jobs, photos, monkeypatch):
    ann = [jobs.submit(f"ann {n}", photos, "colours", ["csv"], "ann's") for n in range(2)]
    each = disk_usage(ann[0].folder)
    monkeypatch.setenv("SEGDEMO_MAX_BATCHES_GB", str(3.5 * each / 1e9))  # 1.5 are left
    with pytest.raises(BatchError, match=r"yours, .* take .* GB, more than is left for all: delete one"):
        jobs.submit("ann", photos, "colours", ["csv"], "ann's")
    jobs.submit("bob", photos, "colours", ["csv"], "bob's")  # 0.5 are left
    with pytest.raises(BatchError, match="delete one"):
        jobs.submit("bob, too", photos, "colours", ["csv"], "bob's")
    jobs.submit("eve", photos, "colours", ["csv"], "eve's")
    with pytest.raises(BatchError, match="The batches fill"):
        jobs.submit("dan", photos, "colours", ["csv"], "dan's")
    for n, job in enumerate(ann):
        jobs.cancel(job.id, f"ann {n}")
        jobs.delete(job.id, f"ann {n}")
    jobs.submit("ann", photos, "colours", ["csv"], "ann's")


def test_one_who_asks_for_much_keeps_nobody_waiting(jobs, photos, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    many = [jobs.submit("", photos[:1], "colours", ["csv"], "address") for _ in range(3)]
    with pytest.raises(BatchError, match="3 batches are waiting already"):
        jobs.submit("", photos[:1], "colours", ["csv"], "address")
    bob = jobs.submit("bob", photos[:1], "colours", ["csv"], "bob's")
    ann = jobs.submit("", photos[:1], "colours", ["csv"], "ann's")
    assert [jobs.get(job.id, job.wish.owner).before for job in (*many, bob, ann)] == [0, 3, 4, 1, 2]
    jobs.work()  # and now who has been served is not before who has not been
    assert [jobs.get(job.id, job.wish.owner).before for job in (*many[1:], bob, ann)] == [2, 3, 0, 1]
    for done in (bob, ann, *many[1:]):
        jobs.work()
        assert jobs.get(done.id, done.wish.owner).progress.state == "done"
    full = [jobs.submit("", photos[:1], "colours", ["csv"], f"address {n}") for n in range(6)]
    with pytest.raises(BatchError, match="6 batches are waiting already"):
        jobs.submit("", photos[:1], "colours", ["csv"], "another")
    jobs.cancel(full[0].id, "")
    jobs.submit("", photos[:1], "colours", ["csv"], "another")
    with pytest.raises(BatchError, match="6 batches are waiting already"):
        jobs.resume(full[0].id, "")


def test_a_damaged_job_is_no_job(jobs, photos):
    job = jobs.submit("ann", photos, "colours", ["csv"])
    for damage in ("", "[]", json.dumps({"owner": 7})):
        (job.folder / "job.json").write_text(damage)
        assert jobs.of("ann") is None
        assert not jobs.work()
    shutil.rmtree(jobs.root)
    assert not jobs.work()


def test_who_has_one_at_work_resumes_no_other(jobs, photos):
    ids = []
    for _ in range(2):
        ids.append(jobs.submit("ann", photos, "colours", ["csv"]).id)
        jobs.cancel(ids[-1], "ann")
    jobs.resume(ids[0], "ann")
    with pytest.raises(BatchError, match="has not ended yet"):
        jobs.resume(ids[1], "ann")
    assert jobs.get(ids[1], "ann").progress.state == "cancelled"
    jobs.resume(ids[0], "ann")  # that is at work anyway
    jobs.work()
    jobs.resume(ids[1], "ann")
    assert jobs.get(ids[1], "ann").progress.state == "queued"
    nobodys = [jobs.submit("", photos, "colours", ["csv"]).id for _ in range(2)]
    for id_ in nobodys:
        jobs.cancel(id_, "")
        jobs.resume(id_, "")
