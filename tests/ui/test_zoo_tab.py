import base64
import io
import itertools
import os
import re
import shlex

import numpy as np
import pytest
from drawn import draw_pets, draw_voc
from PIL import Image
from skimage import data
from tiny import bright, write_model

from segdemo import cli, zoo
from segdemo.cli import train as train_command
from segdemo.core.labels import PETS, VOC
from segdemo.inference.predict import Predictor
from segdemo.runs.config import TrainConfig
from segdemo.ui.services import Services
from segdemo.ui.tabs import zoo as zoo_tab
from segdemo.zoo import served


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A state root without models; none are shipped."""
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SEGDEMO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(served, "WEIGHTS", tmp_path / "weights")
    return tmp_path / "home"


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "cat.png"
    Image.fromarray(data.chelsea()).save(path)
    return path


def serve(home, name, label_set, *classifier, **entry):
    return write_model(home / "models" / name, name, label_set, *classifier, **entry)


def card(page, name):
    return re.search(rf'<article class="zoo-card" id="zoo-{name}">.*?</article>', page, re.DOTALL)[0]


def tiles(page):
    return re.findall(r"<figure.*?</figure>", page, re.DOTALL)


def picture_of(tile):
    encoded = re.search(r"base64,([^\"]+)", tile)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))


# --- cards -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", zoo.SPECS)
def test_a_card_shows_diagram_numbers_and_paper(home, name):
    shown = card(zoo_tab.cards(Services.start()), name)
    facts = zoo.architecture_facts()[name]
    assert facts["diagram"] in shown
    assert f"<dd>{facts['parameters'] / 1e6:.1f} M</dd>" in shown
    assert f"<dd>{facts['flops'] / 1e9:.1f} G</dd>" in shown
    assert re.search(r'href="https://arxiv\.org/abs/\d{4}\.\d{4,5}"', shown)


def test_a_trained_architecture_shows_its_score_and_size_and_an_untrained_one_how_to_train_it(home):
    metrics = {"mean_iou": 0.6543, "dataset": "pets", "subset": "test"}
    entry = serve(
        home, "mine", PETS, *bright(3, 0, 1), architecture="segnet", metrics=metrics, title="<Mine>"
    )
    page = zoo_tab.cards(Services.start())
    trained = card(page, "segnet")
    assert ">trained: 65.4 mean IoU<" in trained
    assert "&lt;Mine&gt;" in trained
    assert "<b>65.4</b> mean IoU on pets test" in trained
    assert f"{entry.path.stat().st_size / 1e6:.1f} MB" in trained
    assert "segdemo train" not in trained
    untrained = card(page, "deeplabv3_resnet50")
    assert "not trained yet" in untrained
    assert "train <span>--recipe book-deeplabv3-resnet50</span>" in untrained
    assert 'data-architecture="deeplabv3_resnet50"' in untrained
    assert "<button" not in page  # where there is nothing to lead to
    page = zoo_tab.cards(Services.start(), startable=True)
    assert '<button type="button" data-architecture="deeplabv3_resnet50">' in card(page, "deeplabv3_resnet50")
    assert "<button" not in card(page, "segnet")


@pytest.mark.parametrize("name", zoo.SPECS)
def test_the_command_shown_trains_that_architecture(home, tmp_path, name):
    draw_pets(tmp_path / "data" / "some pets", {"Abyssinian": 2, "beagle": 2})
    draw_voc(tmp_path / "data", VOC)
    (command,) = zoo_tab.training_commands(Services.start(), zoo.spec(name))
    assert str(tmp_path) not in command  # nothing of this machine
    python, m, package, *arguments = map(os.path.expandvars, shlex.split(command))
    assert (python, m, package) == ("python", "-m", "segdemo")
    options = cli.parser().parse_args(arguments)
    config = TrainConfig.from_json(train_command._train_settings(options))
    assert config.model == name
    assert config.data.startswith(str(tmp_path / "data"))
    assert options.out == home / "models" / name  # where the page finds it afterwards


def test_without_its_dataset_the_download_comes_first(home):
    download, train = zoo_tab.training_commands(Services.start(), zoo.spec("segnet"))
    assert download == "python -m segdemo data download pets --out data"
    assert "--data data " in train
    cli.parser().parse_args(shlex.split(download)[3:])


def test_the_place_of_a_run_is_written_as_a_shell_takes_it(tmp_path, monkeypatch):
    monkeypatch.delenv("SEGDEMO_HOME", raising=False)
    monkeypatch.delenv("SEGDEMO_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert zoo_tab._in_shell(tmp_path / "me" / "a b" / "c") == "~/'a b/c'"
    assert zoo_tab._in_shell(tmp_path / "else") == str(tmp_path / "else")
    monkeypatch.setenv("SEGDEMO_DATA", str(tmp_path / "me" / "data"))
    assert zoo_tab._in_shell(tmp_path / "me" / "data") == "$SEGDEMO_DATA"
    assert zoo_tab._in_shell(tmp_path / "me" / "data" / "VOC2012") == "$SEGDEMO_DATA/VOC2012"


def test_a_citation_is_escaped_and_linked():
    assert zoo_tab.paper("A & B, arXiv:1411.4038") == (
        'A &amp; B, <a href="https://arxiv.org/abs/1411.4038" target="_blank" rel="noopener">arXiv:1411.4038</a>'
    )


# --- all models on one photo -----------------------------------------------------------------------------


def test_models_of_one_label_set_are_compared_class_by_class(home, photo):
    serve(home, "a", PETS, *bright(3, 0, 1))
    serve(home, "b", PETS, *bright(3, 2, 1))  # names the same pixels otherwise
    services = Services.start()
    one, other, compared = tiles(zoo_tab.all_models(services, photo))
    assert "<h3>A</h3>" in one
    assert "pet " in one
    assert "border " in other
    background = (services.predict("a", data.chelsea()).label_map == 1).mean()
    said = float(re.search(r"On ([\d.]+) % of the pixels all say the same class", compared)[1])
    assert said == pytest.approx(100 * background, abs=0.5)
    assert 5 < said < 95
    assert "2 models of Oxford-IIIT Pet" in compared


def test_models_of_two_label_sets_are_compared_by_foreground(home, photo):
    threshold = 140.1  # at a whole number equal scores would go to different sides
    serve(home, "a", PETS, *bright(3, 0, 1, threshold))
    serve(home, "b", VOC, *bright(21, 8, 0, threshold))
    *models, compared = tiles(zoo_tab.all_models(Services.start(), photo))
    assert len(models) == 2
    assert "2 models, foreground or background" in compared
    assert "On 100.0 % of the pixels" in compared  # cat where the other says pet


def test_one_model_has_nobody_to_agree_with(home, photo):
    serve(home, "a", PETS, *bright(3, 0, 1))
    (tile,) = tiles(zoo_tab.all_models(Services.start(), photo))
    assert "<h3>A</h3>" in tile


def test_a_model_that_is_asked_several_times_shows_its_uncertainty(home, photo, monkeypatch):
    serve(home, "sure", PETS, *bright(3, 0, 1))
    serve(home, "unsure", PETS, *bright(3, 0, 1), samples=3)
    says = itertools.cycle((200, -200))
    steady = Predictor.logits

    def stochastic(self, image, *how):  # the right half changes from pass to pass
        logits = steady(self, image, *how)
        if self.entry.samples > 1:
            logits[:, logits.shape[1] // 2 :] += (next(says), 0, 0)
        return logits

    monkeypatch.setattr(Predictor, "logits", stochastic)
    sure, unsure, shown, _agreement = tiles(zoo_tab.all_models(Services.start(), photo))
    assert "uncertainty" not in sure + unsure
    assert "Unsure: uncertainty" in shown
    assert "Asked 3 times" in shown
    picture = picture_of(shown).astype(int)
    orange = picture[..., 0] - picture[..., 2] > 40
    half = picture.shape[1] // 2
    assert orange[:, half + 10 :].mean() > 0.3
    assert orange[:, : half - 10].mean() < 0.01


def test_a_damaged_model_says_so_and_the_others_are_shown(home, photo):
    serve(home, "a", PETS, *bright(3, 0, 1)).path.write_bytes(b"cut")
    serve(home, "b", PETS, *bright(3, 0, 1))
    damaged, whole = tiles(zoo_tab.all_models(Services.start(), photo))
    assert "a.onnx is damaged" in damaged
    assert "data:image/webp" in whole


def test_what_is_no_photo_gets_a_sentence(home, tmp_path):
    path = tmp_path / "note.jpg"
    path.write_text("no photo")
    page = zoo_tab.all_models(Services.start(), path)
    assert page.count('role="alert"') == 1
    assert "<figure" not in page


def test_a_photo_of_one_pixel(home, tmp_path):
    serve(home, "a", PETS, *bright(3, 0, 1))
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(tmp_path / "dot.png")
    (tile,) = tiles(zoo_tab.all_models(Services.start(), tmp_path / "dot.png"))
    assert "nothing it knows" in tile
