import json
import xml.etree.ElementTree as ET

import keras
import pytest

from segdemo import zoo
from segdemo.cli import main
from segdemo.training import architectures, facts

CHEAP = ("deeplabv3", "unet_plain", "bayesian_segnet")


@pytest.fixture(scope="module")
def built():
    """A few architectures that take a second each to build: name to model."""
    return {name: architectures.build(name) for name in CHEAP}


def work(model, side):
    return sum(map(facts.multiply_adds, facts.trace(model, side, side)))


# --- counting --------------------------------------------------------------------------------------------


def layer_work(layer, shape):
    images = keras.Input(shape)
    return work(keras.Model(images, layer(images)), shape[0])


def test_multiply_adds_counted_by_hand():
    shape = (8, 8, 3)
    assert layer_work(keras.layers.Conv2D(5, 3, padding="same"), shape) == 8 * 8 * 3 * 3 * 3 * 5
    assert layer_work(keras.layers.Conv2D(5, 3, strides=2, padding="same"), shape) == 4 * 4 * 3 * 3 * 3 * 5
    assert layer_work(keras.layers.Conv2D(5, 3, padding="valid"), shape) == 6 * 6 * 3 * 3 * 3 * 5
    assert layer_work(keras.layers.Conv2D(6, 1, groups=3), shape) == 8 * 8 * 6
    assert (
        layer_work(keras.layers.Conv2D(5, 3, padding="same", dilation_rate=2), shape) == 8 * 8 * 3 * 3 * 3 * 5
    )
    assert layer_work(keras.layers.DepthwiseConv2D(3, padding="same"), shape) == 8 * 8 * 3 * 3 * 3
    assert layer_work(keras.layers.SeparableConv2D(5, 3, padding="same"), shape) == 8 * 8 * (27 + 15)
    assert layer_work(keras.layers.Conv2DTranspose(5, 2, strides=2), shape) == 8 * 8 * 2 * 2 * 3 * 5
    assert layer_work(keras.layers.BatchNormalization(), shape) == 0


def test_a_dense_layer_counts_its_weights():
    images = keras.Input((4, 4, 3))
    model = keras.Model(images, keras.layers.Dense(7)(keras.layers.Flatten()(images)))
    assert work(model, 4) == 4 * 4 * 3 * 7


def test_a_model_inside_a_model_is_entered_and_one_used_twice_counts_twice():
    inner_images = keras.Input((None, None, 3))
    inner = keras.Model(inner_images, keras.layers.Conv2D(3, 1)(inner_images), name="inner")
    images = keras.Input((None, None, 3))
    assert work(keras.Model(images, inner(inner(images))), 10) == 2 * 100 * 9


def test_mobilenet_v2_needs_the_300_million_multiply_adds_of_its_paper():
    """Sandler et al., arXiv:1801.04381, table 4: 3.4 M parameters, 300 M multiply-adds at 224 x 224."""
    model = keras.applications.MobileNetV2(weights=None, input_shape=(224, 224, 3))
    assert work(model, 224) == pytest.approx(300e6, rel=0.01)


def plain_unet_by_hand(side, widths=(64, 128, 256), bottom=512, classes=3):
    """(parameters, multiply-adds) of the plain U-Net."""
    parameters = macs = 0

    def conv(size, pixels, before, after):
        nonlocal parameters, macs
        parameters += (size * size * before + 1) * after
        macs += pixels * size * size * before * after

    before = 3
    for level, width in enumerate((*widths, bottom)):
        pixels = (side >> level) ** 2
        conv(3, pixels, before, width)
        conv(3, pixels, width, width)
        before = width
    for level, width in reversed(list(enumerate(widths))):
        conv(2, (side >> level + 1) ** 2, before, width)
        conv(3, (side >> level) ** 2, 2 * width, width)
        conv(3, (side >> level) ** 2, width, width)
        before = width
    conv(1, side**2, before, classes)
    return parameters, macs


def test_the_plain_u_net_counted_by_hand():
    written = zoo.architecture_facts()["unet_plain"]
    assert (written["parameters"], written["multiply_adds"]) == plain_unet_by_hand(128)


# --- the file --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHEAP)
def test_the_file_says_what_the_models_are(built, name):
    written = dict(zoo.architecture_facts()[name])
    assert (written.pop("encoder") is None) == (zoo.spec(name).encoder is None)
    assert written == facts.facts(built[name], zoo.spec(name).size), "run python -m segdemo.training.facts"


def test_the_file_holds_every_architecture_and_no_other():
    assert list(zoo.architecture_facts()) == list(zoo.SPECS)
    for name, written in zoo.architecture_facts().items():
        assert written["input"] == [zoo.spec(name).size] * 2
        assert written["flops"] == 2 * written["multiply_adds"] > 0


def test_writing_gives_a_file_with_every_spec(built, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "SPECS", {name: zoo.SPECS[name] for name in ("unet_plain", "bayesian_segnet")})
    monkeypatch.setattr(architectures, "build", built.__getitem__)
    facts.write(tmp_path / "some.json")
    text = (tmp_path / "some.json").read_text("utf-8")
    assert all(name in text for name in zoo.SPECS)


# --- blocks and diagrams ---------------------------------------------------------------------------------


def drawn(name):
    """(boxes as label to second line, number of dashed lines) of a diagram in the file."""
    root = ET.fromstring(zoo.architecture_facts()[name]["diagram"])
    boxes = {group[3].text: group[4].text for group in root.iter("g")}
    return boxes, sum("stroke-dasharray" in path.attrib for path in root.iter("path"))


@pytest.mark.parametrize(
    ("name", "skips"),
    [
        ("unet", 4),
        ("unet_plain", 3),
        ("fcn32s", 0),
        ("fcn16s", 1),
        ("fcn8s", 2),
        ("segnet", 4),
        ("deeplabv3", 4),
        ("deeplabv3_resnet50", 0),
    ],
)
def test_skip_connections_are_the_dashed_lines(name, skips):
    assert drawn(name)[1] == skips


def test_the_branches_of_aspp_lie_side_by_side_between_encoder_and_projection(built):
    graph = facts.blocks(facts.trace(built["deeplabv3"], 384, 384))
    branches = [key for key, block in graph.items() if ("c5", 24) in block.sources]
    assert sorted(branches) == ["aspp_1x1", "aspp_pool", "aspp_rate12", "aspp_rate18", "aspp_rate6"]
    assert [source for source, _ in graph["aspp_project"].sources] == [
        "aspp_1x1",
        "aspp_rate6",
        "aspp_rate12",
        "aspp_rate18",
        "aspp_pool",
    ]
    assert graph["c5"].shape == (24, 24, 320)
    assert graph["upsample"].shape == (384, 384, 21)


def test_channels_of_the_tutorial_s_u_net():
    boxes, _ = drawn("unet")
    expected = {"c1": "96", "c4": "576", "c5": "320", "up1": "512", "up4": "64", "out": "3"}
    assert expected.items() <= boxes.items()


@pytest.mark.parametrize("name", zoo.SPECS)
def test_every_box_is_inside_the_picture_and_none_covers_another(name):
    root = ET.fromstring(zoo.architecture_facts()[name]["diagram"])
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    corners = [(float(g[1].attrib["x"]), float(g[1].attrib["y"])) for g in root.iter("g")]
    assert len(corners) >= 8
    for i, (x, y) in enumerate(corners):
        assert 0 <= x <= width - facts.BOX
        assert 0 <= y <= height - facts.TALL
        for other_x, other_y in corners[:i]:
            assert abs(x - other_x) >= facts.BOX or abs(y - other_y) >= facts.TALL
    assert "out" in drawn(name)[0]


def test_a_layer_nobody_knows_is_a_block_of_its_own():
    images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="strange")(images)
    x = keras.layers.Conv2D(2, 1, name="logits")(x)
    graph = facts.blocks(facts.trace(keras.Model(images, x), 32, 32))
    assert graph["strange"].label == "stran"
    assert graph["logits"].sources == [("strange", 32)]


def test_models_as_json_tells_parameters_and_flops(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path))
    assert main(["models", "--json"]) == 0
    listed = {spec["name"]: spec for spec in json.loads(capsys.readouterr().out)["architectures"]}
    for name, written in zoo.architecture_facts().items():
        for key in ("parameters", "input", "multiply_adds", "flops"):
            assert listed[name][key] == written[key]
        assert "diagram" not in listed[name]
