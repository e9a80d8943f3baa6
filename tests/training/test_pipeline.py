import os
import struct
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from drawn import draw_annotations, draw_voc, encoded, save_mask
from photo_files import jpeg_exif, xmp
from PIL import Image

from segdemo.core.labels import VOC, VOID
from segdemo.data.datasets import DatasetError, read_image, read_label_map
from segdemo.data.sources import find_datasets, open_dataset
from segdemo.training import augment as aug
from segdemo.training import pipeline
from segdemo.training.pipeline import build


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    root = tmp_path_factory.mktemp("voc")
    draw_voc(root, VOC, train=5, extra=2, val=4)
    return open_dataset("voc", root)


@pytest.fixture
def own_voc(tmp_path):
    """One whose files a test may change."""
    draw_voc(tmp_path / "own", VOC, train=5, extra=0, val=2)
    return open_dataset("voc", tmp_path / "own")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The folder of resized photos, with a name that is no pattern."""
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home [1]*"))
    return tmp_path / "home [1]*" / "cache" / "photos"


def shifted(image, mask, seed):
    """A change of colours that takes no time to compile."""
    return tf.cast(image, tf.float32) + tf.random.stateless_uniform([], seed, 0, 9), mask


def cropped(side):
    return aug.compose(partial(aug.random_crop, size=(side, side)), aug.random_flip)


def run(data, count=-1):
    """The first ``count`` batches, or all of them, as lists of NumPy arrays."""
    return [[part.numpy() for part in batch] for batch in data.take(count)]


def classes(data, count=-1):
    """The object class of each photo, in the order they come: in drawn VOC it tells which photo it is."""
    return [int(mask[(mask > 0) & (mask != VOID)].max()) for batch in run(data, count) for mask in batch[1]]


def same(first, second):
    return all(
        np.array_equal(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True)
    )


# --- what comes out --------------------------------------------------------------------------------------


def test_validation_is_neither_shuffled_nor_augmented(voc):
    data = build(voc, "all", training=False, size=40, batch=3, augment=shifted, augment_batch=aug.copy_paste)
    first, again = run(data), run(data)
    assert [len(images) for images, _ in first] == [3, 1]
    assert same(first, again)
    assert classes(data) == [8, 9, 10, 11]
    sample = voc.samples("all")[0]
    expected = aug.resize(read_image(sample), read_label_map(sample), (40, 40))
    np.testing.assert_allclose(first[0][0][0], expected[0], atol=2)
    np.testing.assert_array_equal(first[0][1][0], expected[1])


def test_masks_have_an_optional_size_of_their_own(voc):
    images, masks = run(build(voc, "train", size=60, batch=2, training=False, mask_size=15))[0]
    assert images.shape == (2, 60, 60, 3)
    assert masks.shape == (2, 15, 15)
    assert set(np.unique(masks)) <= {0, 1, 2, VOID}


def test_training_goes_on_for_ever_in_full_batches(voc):
    assert [len(images) for images, _ in run(build(voc, "train", training=True, size=32, batch=4), 5)] == [
        4
    ] * 5


def test_no_photo_is_left_out_at_the_end_of_a_pass(voc):
    # 21 photos, three passes of seven
    drawn = classes(build(voc, "train_aug", training=True, size=32, batch=3), 7)
    passes = [sorted(drawn[n : n + 7]) for n in (0, 7, 14)]
    assert passes == [list(range(1, 8))] * 3
    assert drawn[:7] != drawn[7:14]


# --- order and what is kept ------------------------------------------------------------------------------


def test_mistake_squeeze_drops_a_batch_of_one(voc):
    for images, masks in run(build(voc, "train", training=True, size=32, batch=1), 5):
        assert images.shape == (1, 32, 32, 3)
        assert masks.shape == (1, 32, 32)


@pytest.mark.parametrize("keep", [False, True])
def test_mistake_a_cache_freezes_shuffle_or_augmentation(voc, keep, photos):
    data = build(voc, "train_aug", training=True, size=32, batch=7, resize=32, augment=shifted, keep=keep)
    batches = run(data, 3)
    orders = {tuple(mask[(mask > 0) & (mask != VOID)].max() for mask in masks) for _, masks in batches}
    assert len(orders) > 1
    colours = {tuple(sorted(images.mean(axis=(1, 2, 3)).round(2).tolist())) for images, _ in batches}
    assert len(colours) == 3  # drawn again


def test_mistake_shuffle_of_decoded_photos_with_a_small_buffer(voc, monkeypatch):
    read = []
    original = read_label_map

    def spy(sample, label_set):
        read.append(sample.id)
        return original(sample, label_set)

    monkeypatch.setattr(pipeline, "read_label_map", spy)
    monkeypatch.setattr(pipeline, "WORKERS", 1)
    firsts = set()
    for seed in range(5):
        read.clear()
        next(iter(build(voc, "train_aug", training=True, seed=seed, size=16, batch=1)))
        firsts.add(read[0])
        assert len(read) < 7  # a shuffle of decoded photos would have filled its buffer first
    assert len(firsts) >= 3


@pytest.mark.parametrize("keep", [False, True])
def test_the_same_seed_gives_the_same_batches_with_any_number_of_workers(voc, keep, photos, monkeypatch):
    change = aug.compose(cropped(24), shifted)

    def make(seed, workers):
        monkeypatch.setattr(pipeline, "WORKERS", workers)
        options = {"size": 24, "batch": 3, "resize": 32, "augment": change, "keep": keep, "seed": seed}
        return run(build(voc, "train_aug", training=True, **options), 4)

    first = make(5, 1)
    assert same(first, make(5, 4))
    assert not same(first, make(6, 4))


def test_resized_photos_are_kept_refreshed_and_repaired(own_voc, photos, monkeypatch):
    make = partial(build, own_voc, "train", size=32, batch=5, training=False, keep=True)
    expected = run(make(keep=False))
    first = run(make())
    np.testing.assert_allclose(first[0][0], expected[0][0], atol=0.5)  # kept as whole numbers
    np.testing.assert_array_equal(first[0][1], expected[0][1])
    assert [file.suffix for file in photos.iterdir()] == 5 * [".u8"]

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "read_label_map", lambda *_: pytest.fail("read again"))
        assert same(first, run(make()))
    damaged = next(photos.iterdir())
    whole = damaged.read_bytes()
    for data in (whole[:200], whole[:5], b"", bytes(len(whole))):
        damaged.write_bytes(data)
        assert same(first, run(make()))
        assert damaged.read_bytes() == whole
    save_mask(own_voc.samples("train")[0].mask_path, np.full((40, 60), 20, np.uint8), VOC)
    assert (run(make())[0][1][0] == 20).all()  # the mask changed, so it is read
    assert run(make(size=16))[0][0].shape == (5, 16, 16, 3)


def test_kept_photos_make_room_for_others(voc, photos, monkeypatch):
    def make(side):
        run(build(voc, "train", size=side, batch=5, training=False, keep=True))
        return {file: file.stat().st_size for file in photos.iterdir()}

    size = lambda side: 8 + 4 * side * side  # noqa: E731
    kept = make(24)
    assert list(kept.values()) == 5 * [size(24)]
    # Room for the five of another size, but not beside those five.
    monkeypatch.setattr(pipeline, "FOLDER_LIMIT", 5 * size(32))
    others = make(32)
    assert list(others.values()) == 5 * [size(32)]
    assert make(33) == others  # more than there may be: decoded anew


def test_kept_photos_leave_room_on_the_disk(voc, photos, monkeypatch):
    monkeypatch.setattr(pipeline, "DISK_RESERVE", 2**63)
    data = build(voc, "train", size=32, batch=5, training=False, keep=True)
    assert same(run(data), run(data))
    assert not list(photos.iterdir())


@pytest.mark.parametrize("keep", [False, True])
def test_crops_of_kept_photos_are_those_of_the_photos_themselves(voc, photos, keep):
    data = build(voc, "train", training=True, size=24, batch=1, resize=32, augment=cropped(24), keep=keep)
    for images, masks in run(data, 7):
        object_id = int(masks[(masks > 0) & (masks != VOID)].max())  # tells which photo it is
        sample = voc.samples("train")[object_id - 1]
        image, mask = aug.resize(read_image(sample), read_label_map(sample), (32, 32))
        windows = [
            (both[y : y + 24, x : x + 24, :3], both[y : y + 24, x : x + 24, 3])
            for both in (np.dstack([image, mask]), np.dstack([image, mask])[:, ::-1])
            for y in range(9)
            for x in range(9)
        ]
        found = min(windows, key=lambda pair: np.abs(pair[0] - images[0]).mean())
        np.testing.assert_allclose(images[0], found[0], atol=2)
        np.testing.assert_array_equal(masks[0], found[1])


def test_probabilities_draw_with_replacement(voc):
    make = partial(build, voc, "train_aug", size=16, batch=7, training=True)
    assert classes(make(probabilities=[0, 0, 1, 0, 0, 0, 0]), 1) == [3] * 7
    drawn = classes(make(probabilities=[3, 1, 0, 0, 0, 0, 0]), 30)
    assert set(drawn) == {1, 2}
    assert 0.65 < drawn.count(1) / len(drawn) < 0.85


def test_photos_of_rare_classes_are_drawn_more_often(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    folder = draw_voc(tmp_path, VOC, train=8, extra=0, val=2)
    for n, path in enumerate(sorted((folder / "SegmentationClass").glob("*.png"))[:8]):
        mask = np.full((40, 60), VOID if n == 7 else 0, np.uint8)
        if n < 7:
            mask[:9] = {0: 5, 1: 7}.get(n, 9)  # one photo of 5, one of 7 and 9, six of 9
            mask[20:30, :20] = 9 if n == 1 else 0
        Image.fromarray(mask).save(path)
    dataset = open_dataset("voc", tmp_path)
    factors = pipeline.repeat_factors(dataset, "train", 0.5)
    np.testing.assert_allclose(factors, [2, 2, 1, 1, 1, 1, 1, 1])  # sqrt(0.5 / (1 / 8))
    np.testing.assert_allclose(pipeline.repeat_factors(dataset, "train", 0.1), 1)


def test_batches_can_be_augmented_as_a_whole(voc):
    paste = partial(aug.copy_paste, chance=1.1)
    make = partial(build, voc, "train", size=32, batch=5, seed=3, augment_batch=paste)
    _, masks = run(make(training=True), 1)[0]
    assert max(len(set(np.unique(mask)) - {0, VOID}) for mask in masks) == 2
    _, masks = run(make(training=False))[0]
    assert max(len(set(np.unique(mask)) - {0, VOID}) for mask in masks) == 1


# --- reading ---------------------------------------------------------------------------------------------


def first_of(dataset, subset="all"):
    """The first photo, squashed to 48 x 48, and its mask."""
    images, masks = run(build(dataset, subset, size=48, batch=1, training=False), 1)[0]
    return images[0], masks[0]


def squashed(image, mask=None):
    """A photo (H, W, 3) and a mask at the size of ``first_of``."""
    mask = np.zeros(np.shape(image)[:2], np.uint8) if mask is None else mask
    return tuple(part.numpy() for part in aug.resize(np.asarray(image), mask, (48, 48)))


def test_fast_and_careful_decoding_agree(voc):
    for sample in voc.samples("train"):
        picture = Image.open(sample.image_path)
        decoded = tf.io.decode_jpeg(sample.image_path.read_bytes(), 3, dct_method="INTEGER_ACCURATE")
        assert np.abs(decoded.numpy().astype(int) - np.asarray(picture)).max() <= 2
    image, _ = first_of(voc, "train")
    np.testing.assert_allclose(image, squashed(read_image(voc.samples("train")[0]))[0], atol=2)


def test_annotated_photos_may_be_png(tmp_path):
    draw_annotations(tmp_path, ["a"])
    dataset = open_dataset("annotations", tmp_path)
    sample = dataset.samples("all")[0]
    for found, expected in zip(
        first_of(dataset), squashed(read_image(sample), read_label_map(sample)), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "gif", "bmp"])
def test_photos_of_other_kinds_and_turned_ones_are_read_as_everywhere_else(tmp_path, suffix):
    draw_annotations(tmp_path, ["a"])
    picture = Image.open(tmp_path / "JPEGImages" / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: stored lying, to be turned clockwise
    lying = picture.transpose(Image.Transpose.ROTATE_90)
    options = {"exif": exif} if suffix in ("jpg", "webp") else {}
    # the ending is .jpg whatever it is, as with some photos of Pets
    (lying if options else picture).save(
        tmp_path / "JPEGImages" / "a.jpg", format={"jpg": "jpeg"}.get(suffix, suffix), **options
    )
    (tmp_path / "JPEGImages" / "a.png").unlink()
    image, _ = first_of(open_dataset("annotations", tmp_path))
    assert np.abs(image - squashed(picture)[0]).mean() < 16


@pytest.mark.parametrize("behind", [0, 3000, 30_000])
@pytest.mark.parametrize("how", ["exif", "xmp"])
def test_a_photo_is_turned_wherever_its_file_says_so(tmp_path, how, behind):
    draw_annotations(tmp_path, ["a"])
    picture = Image.open(tmp_path / "JPEGImages" / "a.png")
    segment = {"exif": jpeg_exif(6), "xmp": b"http://ns.adobe.com/xap/1.0/\0" + xmp(6)}[how]
    data = encoded(picture.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95)
    comment = b"\xff\xfe" + struct.pack(">H", behind + 2) + b"x" * behind
    block = b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
    (tmp_path / "JPEGImages" / "a.jpg").write_bytes(data[:2] + comment + block + data[2:])
    (tmp_path / "JPEGImages" / "a.png").unlink()
    image, _ = first_of(open_dataset("annotations", tmp_path))
    assert np.abs(image - squashed(picture)[0]).mean() < 16


def error_of(dataset):
    with pytest.raises(tf.errors.OpError) as caught:
        run(build(dataset, "train", size=16, batch=2, training=True), 3)
    return str(pipeline.explain(caught.value))


def test_errors_while_reading_become_one_sentence(own_voc):
    sample = own_voc.samples("train")[2]
    save_mask(sample.mask_path, np.zeros((7, 7), np.uint8), VOC)
    assert error_of(own_voc).startswith(f"The mask {sample.mask_path} and its photo differ in size:")
    save_mask(sample.mask_path, np.full((40, 60), 99, np.uint8), VOC)
    assert "class id 99" in error_of(own_voc)
    sample.mask_path.unlink()
    message = error_of(own_voc)
    assert message.endswith("restore it or take its id off the list.")
    assert "\n" not in message


def test_a_photo_that_cannot_be_decoded(own_voc):
    sample = own_voc.samples("train")[2]
    sample.image_path.write_bytes(sample.image_path.read_bytes()[:200])
    assert "data check" in error_of(own_voc)
    sample.image_path.write_bytes(b"no photo")
    assert len(error_of(own_voc)) > 20
    sample.image_path.unlink()
    assert "data check" in error_of(own_voc)


def test_unknown_subset(voc):
    with pytest.raises(DatasetError, match="no subset 'validation'"):
        build(voc, "validation", size=8, batch=1, training=False)


def test_a_pipeline_that_does_not_reach_its_size_says_so(voc):
    keep = lambda image, mask, seed=None: (image, mask)  # noqa: E731
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="shape"):
        run(build(voc, "train", size=32, batch=1, training=True, augment=keep), 1)


def test_real_data_if_there_is_any():
    # Everything above runs on drawn data; this only adds real photos where a folder of them is set.
    warp = partial(aug.random_warp, size=(64, 64), scale=(0.5, 2.0), aspect=1.0, reference=512)
    for dataset in find_datasets(os.environ.get("SEGDEMO_DATA")):
        images, masks = next(iter(build(dataset, "train", training=True, size=64, batch=2, augment=warp)))
        assert images.shape[1:] == (64, 64, 3)
        assert set(np.unique(masks)) <= {*range(len(dataset.label_set)), VOID}
