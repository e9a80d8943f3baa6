import keras
import numpy as np
from PIL import Image

from segdemo.core import pictures
from segdemo.core.labels import PETS
from segdemo.data.datasets import Sample
from segdemo.training.callbacks import Samples

SIDE = 256


def test_photos_of_several_sizes_are_drawn_as_each_would_be_alone(tmp_path):
    rng = np.random.default_rng(0)
    samples, rows = [], []
    network = keras.Sequential([keras.layers.Conv2D(len(PETS), 1)])
    network.build((None, None, None, 3))
    for n, size in enumerate([(SIDE, 192), (192, SIDE), (SIDE, 192)]):
        photo = rng.integers(0, 256, (*size, 3), np.uint8)
        truth = rng.integers(0, len(PETS), size, np.uint8)
        truth[:9] = 255
        for name, array in (("photo", photo), ("mask", truth)):
            Image.fromarray(array).save(tmp_path / f"{name}{n}.png")
        samples.append(Sample(str(n), tmp_path / f"photo{n}.png", tmp_path / f"mask{n}.png", "voc"))
        mask = np.where(truth == 255, truth, network.predict(photo[None], verbose=0)[0].argmax(-1))
        rows.append(pictures.triptych(photo, truth, mask.astype(np.uint8), PETS, titles=None))
    drawn = Samples(network, samples, PETS, tmp_path / "samples", before=True)
    drawn.on_train_begin()
    np.testing.assert_array_equal(drawn.picture, pictures.stack(rows))
    with Image.open(tmp_path / "samples" / "epoch_00.png") as kept:
        assert kept.size == drawn.picture.size
