import keras
import numpy as np
import pytest
from numpy_layers import close
from torch_writing import write_state_dict

from segdemo.training.architectures.efficientnet_lite import efficientnet_lite, load_torch_weights, rounded
from segdemo.training.architectures.encoders import build_encoder

# Blocks of each variant: kernel size, stride, expansion, channels in and out.
BLOCKS = {
    0: [
        *[(3, 1, 1, 32, 16)],
        *[(3, 2, 6, 16, 24), (3, 1, 6, 24, 24)],
        *[(5, 2, 6, 24, 40), (5, 1, 6, 40, 40)],
        *[(3, 2, 6, 40, 80), (3, 1, 6, 80, 80), (3, 1, 6, 80, 80)],
        *[(5, 1, 6, 80, 112), (5, 1, 6, 112, 112), (5, 1, 6, 112, 112)],
        *[(5, 2, 6, 112, 192), *[(5, 1, 6, 192, 192)] * 3],
        *[(3, 1, 6, 192, 320)],
    ],
    2: [
        *[(3, 1, 1, 32, 16)],
        *[(3, 2, 6, 16, 24), *[(3, 1, 6, 24, 24)] * 2],
        *[(5, 2, 6, 24, 48), *[(5, 1, 6, 48, 48)] * 2],
        *[(3, 2, 6, 48, 88), *[(3, 1, 6, 88, 88)] * 3],
        *[(5, 1, 6, 88, 120), *[(5, 1, 6, 120, 120)] * 3],
        *[(5, 2, 6, 120, 208), *[(5, 1, 6, 208, 208)] * 4],
        *[(3, 1, 6, 208, 352)],
    ],
}
# Weights that learn, of the whole classifiers with 1000 classes, as published (PyTorch Image Models, results).
PUBLISHED = {0: 4_652_008, 1: 5_416_680, 2: 6_092_072}


def state_dict(variant, seed=0):
    """Random weights with the names of ``efficientnet_lite_pytorch``, activations at a sane scale."""
    rng = np.random.default_rng(seed)
    state = {}

    def convolution(name, out, into, size):
        state[f"{name}.weight"] = rng.normal(
            0, np.sqrt(2 / (into * size**2)), (out, into, size, size)
        ).astype("f")

    def norm(name, channels):
        state[f"{name}.weight"] = rng.uniform(0.5, 1.5, channels).astype("f")
        state[f"{name}.bias"] = rng.normal(0, 0.1, channels).astype("f")
        state[f"{name}.running_mean"] = rng.normal(0, 0.1, channels).astype("f")
        state[f"{name}.running_var"] = rng.uniform(0.5, 1.5, channels).astype("f")
        state[f"{name}.num_batches_tracked"] = np.array(1)

    convolution("_conv_stem", 32, 3, 3)
    norm("_bn0", 32)
    for n, (size, _, expansion, into, out) in enumerate(BLOCKS[variant]):
        if expansion > 1:
            convolution(f"_blocks.{n}._expand_conv", expansion * into, into, 1)
            norm(f"_blocks.{n}._bn0", expansion * into)
        convolution(f"_blocks.{n}._depthwise_conv", expansion * into, 1, size)
        norm(f"_blocks.{n}._bn1", expansion * into)
        convolution(f"_blocks.{n}._project_conv", out, expansion * into, 1)
        norm(f"_blocks.{n}._bn2", out)
    return state


def forward(state, variant, x):
    """The network in NumPy: channels first, as its authors' PyTorch code pads and computes. x is (B, 3, H, W)."""

    def padded(x, size, stride):
        # "Same" padding as TensorFlow has it: what is odd goes below and to the right.
        sides = []
        for length in x.shape[2:]:
            total = max((-(-length // stride) - 1) * stride + size - length, 0)
            sides.append((total // 2, total - total // 2))
        return np.pad(x, ((0, 0), (0, 0), *sides))

    def convolution(x, name, stride=1, depthwise=False):
        kernel = state[f"{name}.weight"].astype(np.float64)
        size = kernel.shape[-1]
        rows, columns = (-(-length // stride) for length in x.shape[2:])
        x, out = padded(x, size, stride), 0.0
        for i in range(size):
            for j in range(size):
                part = x[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride][
                    :, :, :rows, :columns
                ]
                tap = kernel[:, :, i, j]
                out = out + (
                    part * tap[None, :, 0, None, None] if depthwise else np.einsum("bchw,oc->bohw", part, tap)
                )
        return out

    def norm(x, name):
        weight, bias, mean, variance = (
            state[f"{name}.{part}"].astype(np.float64)[None, :, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return weight * (x - mean) / np.sqrt(variance + 1e-3) + bias

    def relu6(x):
        return np.clip(x, 0, 6)

    x = relu6(norm(convolution(x, "_conv_stem", 2), "_bn0"))
    for n, (_, stride, expansion, into, out) in enumerate(BLOCKS[variant]):
        entry, name = x, f"_blocks.{n}"
        if expansion > 1:
            x = relu6(norm(convolution(x, f"{name}._expand_conv"), f"{name}._bn0"))
        x = relu6(norm(convolution(x, f"{name}._depthwise_conv", stride, depthwise=True), f"{name}._bn1"))
        x = norm(convolution(x, f"{name}._project_conv"), f"{name}._bn2")
        if stride == 1 and into == out:
            x = x + entry
    return x


@pytest.fixture(scope="module")
def torch_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("torch") / "efficientnet-lite0-random.pth"
    state = {**state_dict(0), "_fc.bias": np.zeros(1000, np.float32)}  # the classifier is in there too
    write_state_dict(path, state)
    return path, state


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_the_parameters_are_as_many_as_published(variant):
    model = efficientnet_lite(variant)
    channels = model.output.shape[-1]
    learning = sum(int(np.prod(w.shape)) for w in model.trainable_variables)
    head = 1280 * channels + 2 * 1280 + 1280 * 1000 + 1000
    assert learning + head == PUBLISHED[variant]


@pytest.mark.parametrize(("variant", "size"), [(0, (64, 32)), (2, (32, 64))])
def test_the_forward_pass_is_that_of_a_plain_reference(tmp_path, variant, size):
    state = state_dict(variant)
    write_state_dict(tmp_path / "a.pth", state)
    model = efficientnet_lite(variant, tmp_path / "a.pth")
    images = np.random.default_rng(1).uniform(-1, 1, (2, *size, 3)).astype(np.float32)
    expected = forward(state, variant, images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    assert expected.std() > 0.1
    assert close(model(images, training=False), expected, 1e-4)


def test_the_encoder_takes_pytorch_s_file(torch_file):
    path, state = torch_file
    encoder = build_encoder("efficientnet_lite0", path)
    images = np.random.default_rng(2).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    features = encoder(images, training=False)
    expected = forward(state, 0, images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    assert close(features["c5"], expected, 1e-4)


def test_weights_of_another_network_are_refused(torch_file):
    path, _ = torch_file
    with pytest.raises(ValueError, match="does not hold the weights of efficientnet_lite2"):
        load_torch_weights(efficientnet_lite(2), path)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(16 * 1.1, 16), (24 * 1.1, 24), (40 * 1.1, 48), (80 * 1.1, 88), (3, 8), (11, 16)],
)
def test_widths_are_multiples_of_eight(channels, expected):
    assert rounded(channels) == expected


def test_it_has_nothing_but_what_quantises_well():
    kinds = {type(layer).__name__ for layer in efficientnet_lite(0).layers}
    assert kinds == {
        "InputLayer",
        "ZeroPadding2D",
        "Conv2D",
        "DepthwiseConv2D",
        "BatchNormalization",
        "ReLU",
        "Add",
    }
    assert {
        layer.max_value for layer in efficientnet_lite(1).layers if isinstance(layer, keras.layers.ReLU)
    } == {6}
