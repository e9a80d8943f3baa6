import keras
import numpy as np
import pytest
import tensorflow as tf
import tflite_files
from drawn import draw_voc
from PIL import Image
from scipy import ndimage
from skimage import data

from segdemo import augment, distil, losses, metrics, tflite, zoo
from segdemo.datasets import DatasetError, open_dataset
from segdemo.labels import VOC, VOID
from segdemo.models.layers import ResizeLike
from segdemo.train import train
from segdemo.train_config import TrainConfig, TrainingError

CLASSES = 21
CAT = data.chelsea()  # (300, 451, 3)


class FakeTeacher:
    """Looks the class of each grid point up in the photo's red channel, which the photos here have it in."""

    def __init__(self, side=129, stride=4, scale=0.25, zero_point=40):
        self.grid = distil.Grid(side, stride, CLASSES, scale, zero_point)
        self.asked = 0

    def __call__(self, image):
        self.asked += 1
        height, width = self.grid.resized(*image.shape[:2])
        classes = np.asarray(Image.fromarray(image[..., 0]).resize((width, height), Image.Resampling.NEAREST))
        rows, columns = self.grid.shape(*image.shape[:2])
        y = np.minimum(np.arange(rows) * self.grid.stride, height - 1)
        x = np.minimum(np.arange(columns) * self.grid.stride, width - 1)
        return np.where(np.eye(CLASSES, dtype=bool)[classes[y][:, x]], 80, 40).astype(np.uint8)


def scene(seed, size=(150, 200)):
    """A mask of a few large boxes and discs, none alike when mirrored, and a photo with it as red channel."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, np.uint8)
    y, x = np.mgrid[: size[0], : size[1]]
    for id_ in rng.choice(np.arange(1, CLASSES), 4, replace=False):
        top, left = rng.integers(0, size[0] - 60), rng.integers(0, size[1] - 60)
        if id_ % 2:
            mask[top : top + 55, left : left + 60] = id_
        else:
            mask[(y - top - 30) ** 2 + (x - left - 30) ** 2 < 30**2] = id_
    return np.repeat(mask[..., None], 3, axis=-1), mask


def write_voc(root, count=6):
    """A drawn VOC tree whose photos are ``scene``'s, as PNG under the name JPEG photos have, to be exact."""
    folder = draw_voc(root, VOC, train=count, extra=0, val=2)
    for n, photo in enumerate(sorted((folder / "JPEGImages").glob("*.jpg"))):
        image, mask = scene(n)
        with photo.open("wb") as file:
            Image.fromarray(image).save(file, "PNG")
        target = Image.fromarray(mask)
        target.save(folder / "SegmentationClass" / f"{photo.stem}.png")
    return open_dataset("voc", root)


def away_from_edges(mask, distance):
    """Where the window around a pixel holds one class, no void, and is inside the picture."""
    size = 2 * distance + 1
    same = ndimage.maximum_filter(mask, size) == ndimage.minimum_filter(mask, size)
    return same & (mask != VOID)


# --- where the teacher's logits lie -----------------------------------------------------------------------


def test_the_grid_s_points_are_where_deeplab_has_them():
    grid = distil.Grid(513, 16, CLASSES, 0.2, 36)
    assert grid.resized(513, 513) == (513, 513)
    assert grid.shape(513, 513) == (33, 33)
    first, spacing = grid.points(513, 513)
    np.testing.assert_allclose(first, 0.5)  # the centre of the first pixel
    np.testing.assert_allclose(first + 32 * spacing, 512.5)  # and of the last
    assert grid.resized(384, 256) == (513, 342)
    assert grid.shape(384, 256) == (33, 23)
    first, spacing = grid.points(384, 256)
    np.testing.assert_allclose(spacing, [16 * 384 / 513, 16 * 256 / 342], rtol=1e-6)
    assert grid.shape(1, 900) == (1, 33)


def test_warp_grid_interpolates_between_points_and_goes_on_beyond_them():
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(4.0)), axis=-1)  # (4, 5, 2) of x and y
    warped = augment.warp_grid(grid, (6, 8), (3.0, 4.0), (2.0, 3.0), False, (1.0, 2.0), (5.0, 6.0)).numpy()
    y, x = 3 + 2 * (np.arange(6) + 0.5), 4 + 3 * (np.arange(8) + 0.5)  # centres, in the photo
    np.testing.assert_allclose(warped[:, 0, 1], np.clip((y - 1) / 5, 0, 3), rtol=1e-5)
    np.testing.assert_allclose(warped[0, :, 0], np.clip((x - 2) / 6, 0, 4), rtol=1e-5)
    mirrored = augment.warp_grid(grid, (6, 8), (3.0, 4.0), (2.0, 3.0), True, (1.0, 2.0), (5.0, 6.0))
    np.testing.assert_allclose(mirrored, warped[:, ::-1], rtol=1e-5)


def test_warp_is_what_its_halves_make_of_the_same_window():
    mask = scene(1, CAT.shape[:2])[1]
    for number in range(6):
        seed = tf.constant([number, 7])
        settings = {"size": (64, 80), "scale": (0.4, 1.1), "aspect": 1.15, "reference": 128}
        image, warped = augment.random_warp(CAT, mask, **settings, seed=seed)
        window = augment.random_window(mask.shape, **settings, seed=seed)
        np.testing.assert_array_equal(augment.warp_image(CAT, (64, 80), *window), image)
        np.testing.assert_array_equal(augment.warp_mask(mask, (64, 80), *window), warped)


def test_the_warped_teacher_stays_on_the_warped_mask():
    teacher, mirrored = FakeTeacher(), 0
    aside, agreed = {"as it is": (0, 0), "down": (12, 0), "right": (0, 12), "not mirrored": (0, 0)}, {}
    for number in range(30):
        image, mask = scene(number)
        start, step, flip = augment.random_window(
            mask.shape, (128, 128), (0.5, 1.5), 1.15, reference=128, seed=tf.constant([number, 3])
        )
        mirrored += int(flip)
        truth = augment.warp_mask(mask, (32, 32), start, 4 * step, flip).numpy()
        checked = away_from_edges(truth, 1)
        assert checked.sum() > 50
        grid, (first, spacing) = distil.averaged(teacher, image), teacher.grid.points(*mask.shape)
        for name, shift in aside.items():
            turned = flip if name != "not mirrored" else False
            taught = augment.warp_grid(grid, (32, 32), start, 4 * step, turned, first + shift, spacing)
            agreed.setdefault(name, []).append((taught.numpy().argmax(-1) == truth)[checked].mean())
    assert 5 < mirrored < 25
    assert min(agreed["as it is"]) > 0.99
    for wrong in ("down", "right", "not mirrored"):  # what this test would notice
        assert np.mean(agreed[wrong]) < 0.97


@pytest.mark.parametrize("width", [200, 193, 150, 131])
def test_the_average_over_the_mirror_image_is_aligned(width):
    image, _ = scene(3, (150, width))
    teacher = FakeTeacher()
    plain, both = teacher(image), distil.averaged(teacher, image)
    assert both.shape == plain.shape
    assert both.dtype == np.uint8
    flat = away_from_edges(plain.argmax(-1).astype(np.uint8), 1)
    assert flat.sum() > 100
    np.testing.assert_array_equal(both[flat], plain[flat])  # both views agree inside of things


def test_the_average_is_of_both_views():
    teacher = FakeTeacher()
    ramp = np.arange(129, dtype=np.uint8)[None].repeat(129, axis=0)[..., None].repeat(3, axis=-1)

    def left_is_zero(image):  # answers with the column number whatever it is shown
        rows, columns = teacher.grid.shape(*image.shape[:2])
        return np.broadcast_to(np.arange(columns, dtype=np.uint8)[None, :, None], (rows, columns, CLASSES))

    left_is_zero.grid = teacher.grid
    assert (distil.averaged(left_is_zero, ramp) == 16).all()  # x and 32 - x


# --- what is kept -----------------------------------------------------------------------------------------


def test_answers_are_kept_and_asking_goes_on_where_it_was_stopped(tmp_path):
    dataset, teacher = write_voc(tmp_path / "data"), FakeTeacher()
    samples = dataset.samples("train_aug")
    distil.cache_teacher(teacher, samples, tmp_path / "kept", progress=lambda items: items[:4])
    assert teacher.asked == 8  # each photo and its mirror image
    labels = distil.cache_teacher(teacher, samples, tmp_path / "kept")
    assert teacher.asked == 12
    distil.cache_teacher(teacher, samples, tmp_path / "kept")
    assert teacher.asked == 12
    image, _ = scene(2)
    np.testing.assert_array_equal(labels.read(samples[2]), distil.averaged(teacher, image))
    assert len(list((tmp_path / "kept").glob("*.npy"))) == 6


def test_a_photo_that_changed_is_asked_about_again(tmp_path):
    dataset, teacher = write_voc(tmp_path / "data"), FakeTeacher()
    samples = dataset.samples("train")[:1]
    distil.cache_teacher(teacher, samples, tmp_path / "kept")
    other, _ = scene(77, (120, 90))
    with samples[0].image_path.open("wb") as file:
        Image.fromarray(other).save(file, "PNG")
    labels = distil.cache_teacher(teacher, samples, tmp_path / "kept")
    np.testing.assert_array_equal(labels.read(samples[0]), distil.averaged(teacher, other))


def test_answers_of_two_teachers_are_not_mixed(tmp_path):
    dataset = write_voc(tmp_path / "data")
    distil.cache_teacher(FakeTeacher(), dataset.samples("train")[:1], tmp_path / "kept")
    with pytest.raises(distil.TeacherError, match="answers of another teacher: choose another folder"):
        distil.cache_teacher(FakeTeacher(scale=0.5), dataset.samples("train")[:1], tmp_path / "kept")


def test_missing_and_damaged_answers_and_photos_are_named(tmp_path):
    dataset, teacher = write_voc(tmp_path / "data"), FakeTeacher()
    samples = dataset.samples("train")
    labels = distil.cache_teacher(teacher, samples[:1], tmp_path / "kept")
    with pytest.raises(distil.TeacherError, match=f"not been asked about the photo {samples[1].id}"):
        labels.read(samples[1])
    labels.path(samples[0]).write_bytes(b"\x93NUMPY")
    with pytest.raises(distil.TeacherError, match="damaged: delete it"):
        labels.read(samples[0])
    samples[2].image_path.unlink()
    with pytest.raises(DatasetError, match="is missing: restore it"):
        distil.cache_teacher(teacher, samples[2:3], tmp_path / "kept")


# --- the batches ------------------------------------------------------------------------------------------


def batches(tmp_path, **options):
    tf.random.set_seed(0)  # the windows must not depend on which tests ran before
    dataset = open_dataset("voc", tmp_path / "data") if (tmp_path / "data").exists() else None
    dataset = dataset or write_voc(tmp_path / "data")
    labels = distil.cache_teacher(FakeTeacher(), dataset.samples("train"), tmp_path / "kept")
    settings = {"size": 64, "stride": 4, "batch": 3, "scale": (0.3, 0.9), "reference": 128, "seed": 5}
    return distil.batches(dataset, "train", labels, **{**settings, **options})


def test_batches_hold_masks_and_soft_labels_that_agree(tmp_path):
    agreed, padded = [], 0
    for images, targets in batches(tmp_path).take(8):
        assert images.shape == (3, 64, 64, 3)
        assert images.dtype == tf.float32
        mask, teacher, valid = (targets[key].numpy() for key in ("mask", "teacher", "valid"))
        assert (mask.dtype, mask.shape) == (np.uint8, (3, 16, 16))
        assert (teacher.dtype, teacher.shape) == (np.float32, (3, 16, 16, CLASSES))
        np.testing.assert_array_equal(valid == 0, mask == VOID)  # these masks have no void of their own
        padded += (valid == 0).sum()
        for ids, logits in zip(mask, teacher, strict=True):
            checked = away_from_edges(ids, 1)
            agreed += (logits.argmax(-1) == ids)[checked].tolist()
            assert logits[checked].max() <= 0.25 * (80 - 40) + 1e-4  # bytes became logits
            assert logits.min() >= -1e-4
    assert padded > 100
    assert len(agreed) > 500
    assert np.mean(agreed) > 0.95


def test_the_photo_goes_through_the_same_window_as_its_mask(tmp_path, monkeypatch):
    monkeypatch.setattr(augment, "random_color_matrix", lambda image, mask, seed: (image, mask))
    for images, targets in batches(tmp_path).take(4):
        mask = targets["mask"].numpy()
        shown = images.numpy()[:, 2::4, 2::4, 0]  # red is the class
        for ids, red in zip(mask, shown, strict=True):
            checked = away_from_edges(ids, 1)
            assert (np.rint(red) == ids)[checked].mean() > 0.95


def test_void_in_the_mask_is_still_taught_and_padding_is_not(tmp_path):
    dataset = write_voc(tmp_path / "data")
    sample = dataset.samples("train")[0]
    Image.fromarray(np.full((150, 200), VOID, np.uint8)).save(sample.mask_path)
    labels = distil.cache_teacher(FakeTeacher(), dataset.samples("train"), tmp_path / "kept")
    _, targets = next(
        iter(
            distil.batches(
                dataset,
                "train",
                labels,
                size=64,
                stride=4,
                batch=4,
                scale=(0.25, 0.25001),
                reference=128,
                probabilities=[1, 0, 0, 0, 0, 0],
            )
        )
    )
    assert (targets["mask"].numpy() == VOID).all()
    # 32 x 24 of the crop's 64 x 64 pixels are photo, give or take a row for where it lies
    assert targets["valid"].numpy().mean() == pytest.approx(32 * 24 / 64**2, abs=0.05)


def test_batches_repeat_by_seed_and_differ_by_epoch(tmp_path):
    first = batches(tmp_path, workers=1)
    again = batches(tmp_path, workers=2)
    other = batches(tmp_path, seed=6)
    one, two, three = ([images.numpy() for images, _ in b.take(4)] for b in (first, again, other))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one[0], three[0])
    assert not np.array_equal(one[:2], one[2:])  # two batches are a pass


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
    factors = distil.repeat_factors(dataset, "train", 0.5)
    np.testing.assert_allclose(factors, [2, 2, 1, 1, 1, 1, 1, 1])  # sqrt(0.5 / (1 / 8))
    np.testing.assert_allclose(distil.repeat_factors(dataset, "train", 0.1), 1)


# --- the loss and the model that learns -------------------------------------------------------------------


def network(classes=3, **weights):
    images = keras.Input((4, 4, 3))
    logits = keras.layers.Conv2D(classes, 1, kernel_initializer="zeros", name="logits")(images)
    return distil.Distiller(images, logits, **weights)


def test_soft_cross_entropy_equals_the_hand_computed_value():
    logits = np.log([[[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]]]) + 3.0  # (1, 1, 2, 3)
    teacher = np.log([[[[0.25, 0.5, 0.25], [0.1, 0.2, 0.7]]]]) - 1.0
    by_pixel = [
        -(0.25 * np.log(0.5) + 0.5 * np.log(0.25) + 0.25 * np.log(0.25)),
        -(0.1 * np.log(0.1) + 0.2 * np.log(0.1) + 0.7 * np.log(0.8)),
    ]
    value = distil.soft_cross_entropy(logits, teacher, np.ones((1, 1, 2)))
    assert float(value) == pytest.approx(np.mean(by_pixel), rel=1e-5)
    value = distil.soft_cross_entropy(logits, teacher, np.array([[[0.0, 1.0]]]))
    assert float(value) == pytest.approx(by_pixel[1], rel=1e-5)
    assert float(distil.soft_cross_entropy(logits, teacher, np.zeros((1, 1, 2)))) == 0


def test_temperature_softens_both_and_keeps_the_gradient_s_size():
    logits, teacher = np.array([[[[2.0, 0.0, -2.0]]]]), np.array([[[[0.0, 3.0, 1.0]]]])

    def share(values):
        return np.exp(values / 4) / np.exp(values / 4).sum()

    expected = -16 * (share(teacher) * np.log(share(logits))).sum()
    value = distil.soft_cross_entropy(logits, teacher, np.ones((1, 1, 1)), temperature=4.0)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_soft_cross_entropy_is_least_for_the_teacher_s_own_logits():
    logits = tf.Variable(np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32))
    with tf.GradientTape() as tape:
        value = distil.soft_cross_entropy(logits, logits.numpy(), np.ones((2, 3, 4)))
    np.testing.assert_allclose(tape.gradient(value, logits), 0, atol=1e-7)


def targets(valid=1.0):
    rng = np.random.default_rng(2)
    mask = rng.integers(0, 3, (2, 4, 4)).astype(np.uint8)
    mask[0, 0] = VOID
    teacher = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)
    return {"mask": mask, "teacher": teacher, "valid": np.full((2, 4, 4), valid, np.float32)}


def compiled(model):
    model.compile(keras.optimizers.SGD(0.1), losses.CrossEntropy(), metrics=[metrics.PixelAccuracy(3)])
    return model


def test_the_loss_is_the_weighted_sum_and_validation_is_on_the_truth_alone():
    model, y = compiled(network(truth_weight=0.5, teacher_weight=2.0)), targets()
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)

    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    known = y["mask"] != VOID
    picked = np.take_along_axis(log_p, np.where(known, y["mask"], 0)[..., None].astype(int), -1)[..., 0]
    truth = -picked[known].mean()
    soft = np.exp(y["teacher"]) / np.exp(y["teacher"]).sum(-1, keepdims=True)
    taught = -(soft * log_p).sum(-1).mean()
    loss = model.compute_loss(y=y, y_pred=logits)
    assert float(loss) == pytest.approx(0.5 * truth + 2.0 * taught, rel=1e-5)
    assert float(model.compute_loss(y=y["mask"], y_pred=logits)) == pytest.approx(truth, rel=1e-5)


class CropTeacher:
    """Looks at crops of 4 x 4 with a stride of 2 and finds each colour in its own channel."""

    def on_crops(self, images):
        return 6.0 * tf.cast(images, tf.float32)[:, 1::2, 1::2]


def test_a_teacher_that_sees_the_crop_is_asked_while_training_only():
    model = compiled(network(truth_weight=0.5, teacher_weight=2.0, temperature=3.0, network=CropTeacher()))
    rng = np.random.default_rng(4)
    images = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)
    logits = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)
    mask = targets()["mask"]
    truth = float(model.compute_loss(images, mask, logits, training=False))
    assert truth == pytest.approx(float(losses.CrossEntropy()(mask, logits)), rel=1e-5)
    enlarged = tf.image.resize(6 * images[:, 1::2, 1::2], (4, 4))
    soft = float(distil.soft_cross_entropy(logits, enlarged, np.ones((2, 4, 4)), 3.0))
    both = float(model.compute_loss(images, mask, logits, training=True))
    assert both == pytest.approx(0.5 * truth + 2.0 * soft, rel=1e-5)


def test_a_model_learns_from_a_teacher_that_sees_the_crop():
    keras.utils.set_random_seed(1)
    images = np.random.default_rng(6).normal(size=(4, 4, 4, 3)).astype(np.float32)
    images = images.repeat(2, axis=1)[:, :4].repeat(2, axis=2)[:, :, :4]  # alike within a cell
    mask = np.full((4, 4, 4), VOID, np.uint8)
    model = compiled(network(network=CropTeacher()))
    history = model.fit(
        tf.data.Dataset.from_tensors((images, mask)).repeat(),
        steps_per_epoch=30,
        epochs=2,
        verbose=0,
        shuffle=False,
    ).history
    assert history["loss"][0] > history["loss"][-1]
    kernel = model.get_layer("logits").kernel.numpy()[0, 0]
    assert (kernel.argmax(axis=0) == [0, 1, 2]).all()


def test_padding_has_no_say():
    model, y = compiled(network()), targets()
    logits = np.random.default_rng(5).normal(size=(2, 4, 4, 3)).astype(np.float32)
    y["mask"][:, 2:], y["valid"][:, 2:] = VOID, 0
    before = float(model.compute_loss(y=y, y_pred=logits))
    y["teacher"][:, 2:] = 50 * np.eye(3, dtype=np.float32)[1]
    logits[:, 2:] = -30 * np.eye(3, dtype=np.float32)[1]
    assert float(model.compute_loss(y=y, y_pred=logits)) == pytest.approx(before, rel=1e-6)


def test_a_step_moves_the_model_towards_the_teacher():
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(6)
    images = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)
    y = targets()
    y["mask"][:] = VOID  # nothing but the teacher to learn from
    y["teacher"] = 6 * images[..., ::-1]
    model = compiled(network())
    before = [w.copy() for w in model.get_weights()]
    batches_ = tf.data.Dataset.from_tensors((images, y)).repeat()
    history = model.fit(
        batches_,
        steps_per_epoch=10,
        epochs=3,
        verbose=0,
        shuffle=False,
        validation_data=(images, targets()["mask"]),
    ).history
    assert any(not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert history["loss"][0] > history["loss"][-1]
    kernel = model.get_layer("logits").kernel.numpy()[0, 0]
    assert (kernel.argmax(axis=0) == [2, 1, 0]).all()  # the teacher's rule
    assert set(history) == {"loss", "pixel_accuracy", "val_loss", "val_pixel_accuracy"}


def test_weights_of_a_distiller_are_those_of_the_model(tmp_path):
    model = compiled(network())
    model.set_weights([np.full_like(w, 0.5) for w in model.get_weights()])
    model.save_weights(tmp_path / "a.weights.h5")
    plain = keras.Model(*(lambda m: (m.input, m.output))(network()))
    plain.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(plain.get_layer("logits").kernel, np.full((1, 1, 3, 3), 0.5))


# --- the file a teacher comes in --------------------------------------------------------------------------


def test_a_teacher_answers_for_the_photo_s_points_in_bytes(tmp_path):
    path = tmp_path / "teacher.tflite"
    path.write_bytes(tflite_files.network(65))
    teacher = distil.Teacher(path)
    grid = teacher.grid
    assert (grid.side, grid.stride, grid.classes) == (65, 8, 5)
    answer = teacher(CAT)  # 300 x 451 pixels, so 43 x 65 of the picture
    assert answer.dtype == np.uint8
    assert answer.shape == (7, 9, 5)
    picture = np.full((65, 65, 3), distil.PADDING, np.uint8)
    picture[:43] = Image.fromarray(CAT).resize((65, 43), Image.Resampling.BILINEAR)
    expected = tflite.FloatNetwork(path)(picture[None]).numpy()[0, :7]
    assert expected.std() > grid.scale
    error = grid.scale * (answer.astype(np.float32) - grid.zero_point) - expected
    assert np.abs(error).max() <= 0.51 * grid.scale  # nothing but rounding


def test_a_teacher_that_is_not_there_is_named(tmp_path):
    with pytest.raises(distil.TeacherError, match=r"There is no teacher .*teacher\.tflite: give the path"):
        distil.Teacher(tmp_path / "teacher.tflite")


def test_teachers_are_found_by_path_and_by_name(tmp_path, monkeypatch):
    (tmp_path / "t.tflite").write_bytes(b"x")
    monkeypatch.delenv("SEGDEMO_PRETRAINED", raising=False)
    assert distil.find_teacher(str(tmp_path / "t.tflite")) == tmp_path / "t.tflite"
    with pytest.raises(
        distil.TeacherError, match=r"There is no teacher t\.tflite: put that TFLite file into"
    ):
        distil.find_teacher("t.tflite")
    monkeypatch.setenv("SEGDEMO_PRETRAINED", str(tmp_path))
    assert distil.find_teacher("t.tflite") == tmp_path / "t.tflite"


def test_each_teacher_file_has_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path))
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    folders = {distil.cache_folder(tmp_path / name) for name in ("a", "b")}
    assert len(folders) == 2
    assert all(folder.parent == tmp_path / "cache" for folder in folders)


# --- a whole training -------------------------------------------------------------------------------------


def tiny(name, num_classes, encoder_weights=None, **options):
    """Stands in for ``zoo.build``: a model as DeepLab is one, with logits at stride 4."""
    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 128, -1)(images)
    logits = keras.layers.Conv2D(num_classes, 4, strides=4, name="logits")(x)
    return keras.Model(images, ResizeLike(name="upsample")(logits, images))


@pytest.fixture
def taught(tmp_path, monkeypatch):
    """A training with a fake teacher: its configuration and the teacher."""
    teacher = FakeTeacher()
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(zoo, "build", tiny)
    monkeypatch.setattr(distil, "Teacher", lambda path: teacher)
    (tmp_path / "t.tflite").write_bytes(b"a teacher")
    write_voc(tmp_path / "data")
    config = {
        "model": "unet_plain",  # the name of one without an encoder
        "dataset": "voc",
        "data": str(tmp_path / "data"),
        "teacher": str(tmp_path / "t.tflite"),
        "augment": "strong",
        "loss_stride": 4,
        "repeat_threshold": 0.3,
        "held_out": "val",
        "size": 32,
        "batch": 2,
        "epochs": 1,
    }
    return config, teacher


def test_a_training_with_a_teacher_runs_and_goes_on(taught, tmp_path):
    config, teacher = taught
    status = train(TrainConfig(**config), tmp_path / "run", verbose=False)
    assert status["state"] == "done"
    assert teacher.asked == 12
    assert train(TrainConfig(**{**config, "epochs": 2}), tmp_path / "run", True, False)["state"] == "done"
    assert teacher.asked == 12
    lines = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "0", "1"]
    assert "val_mean_iou" in lines[0]
    model = tiny("", CLASSES)
    model.load_weights(tmp_path / "run" / "checkpoints" / "best.weights.h5")
    assert np.abs(model.get_layer("logits").bias.numpy()).max() > 0  # it began with zeros


def test_a_training_is_cancelled_while_the_teacher_is_asked(taught, tmp_path):
    config, teacher = taught
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "cancel").touch()
    assert train(TrainConfig(**config), tmp_path / "run", verbose=False)["state"] == "cancelled"
    assert teacher.asked == 0


def test_a_training_with_a_teacher_that_sees_the_crops(taught, tmp_path):
    config, teacher = taught
    (tmp_path / "t.tflite").write_bytes(tflite_files.network(65, CLASSES))
    config |= {
        "teacher_sees": "crop",
        "teacher_temperature": 2.0,
        "cutmix": 0.5,
        "mixup": 0.3,
        "copy_paste": 0.2,
    }
    assert train(TrainConfig(**config), tmp_path / "run", verbose=False)["state"] == "done"
    assert teacher.asked == 0
    model = tiny("", CLASSES)
    model.load_weights(tmp_path / "run" / "checkpoints" / "best.weights.h5")
    assert np.abs(model.get_layer("logits").bias.numpy()).max() > 0
    with pytest.raises(TrainingError, match="a multiple of 8 pixels, not 36: choose another"):
        train(TrainConfig(**{**config, "size": 36}), tmp_path / "other", verbose=False)
    (tmp_path / "t.tflite").write_bytes(tflite_files.network(65, 5))
    with pytest.raises(TrainingError, match=r"knows 5 classes and .* has 21: use one"):
        train(TrainConfig(**config), tmp_path / "third", verbose=False)


def test_a_teacher_of_other_classes_is_refused(taught, tmp_path):
    config, teacher = taught
    teacher.grid = distil.Grid(129, 4, 7, 0.25, 40)
    with pytest.raises(TrainingError, match=r"knows 7 classes and .* has 21: use one"):
        train(TrainConfig(**config), tmp_path / "run", verbose=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"augment": "flip"},
        {"copy_paste": 0.5},
        {"cutmix": 0.5},
        {"mixup": 0.2},
        {"mixup": 0.2, "teacher": ""},
        {"cutmix": 1.5, "teacher_sees": "crop"},
        {"teacher_sees": "nothing"},
        {"teacher_temperature": 0.5},
        {"teacher_weight": -1.0},
        {"teacher_weight": 0.0, "truth_weight": 0.0},
        {"repeat_threshold": 2.0},
    ],
)
def test_settings_that_do_not_go_with_a_teacher_are_refused(wrong):
    config = {"model": "deeplabv3", "dataset": "voc", "data": "d", "teacher": "t", "augment": "strong"}
    TrainConfig(**config)
    with pytest.raises(TrainingError, match=next(iter(wrong)) if "augment" not in wrong else "'strong'"):
        TrainConfig(**{**config, **wrong})
