import errno
import json
import re

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from segdemo.core.labels import LabelSet
from segdemo.data.datasets import DatasetError
from segdemo.runs import failures


def raised(function):
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def load_weights_of_another_shape(folder, layers):
    path = folder / "a.weights.h5"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)]).save_weights(path)
    keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(4) for _ in range(layers))]).load_weights(path)


def in_a_graph(function, *arguments):
    return tf.function(function)(*arguments)


KNOWN = {
    "own": (
        lambda folder: _raise(DatasetError("The list is empty: add photos.")),
        r"The list is empty: add photos\.",
    ),
    "own value": (lambda folder: LabelSet("x", "X", ("a", "a"), ((0, 0, 0), (1, 1, 1)), None), r"[a-z]"),
    "memory": (lambda folder: np.zeros((10**7, 10**7)), "not enough memory: choose a smaller batch"),
    "memory of a tensor": (
        lambda folder: _raise(tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")),
        "not enough memory: choose a smaller batch",
    ),
    "disk": (
        lambda folder: _raise(OSError(errno.ENOSPC, "No space left on device")),
        "disk is full: free some space",
    ),
    "disk of a tensor": (
        lambda folder: _raise(tf.errors.UnknownError(None, None, "x.data: No space left on device")),
        "disk is full",
    ),
    "keyboard": (lambda folder: _raise(KeyboardInterrupt()), "Stopped from the keyboard"),
    "missing file": (lambda folder: (folder / "no.txt").read_text(), r"no\.txt: No such file"),
    "no network": (
        lambda folder: keras.utils.get_file("x", "https://127.0.0.1:9/none", cache_dir=folder),
        "connect to the network, or put their file into the folder that SEGDEMO_PRETRAINED names",
    ),
    "package": (
        lambda folder: __import__("no_such_package"),
        "package no_such_package is not installed: install",
    ),
    "damaged weights": (
        lambda folder: _load_damaged(folder),
        "weights file is damaged or none of Keras's: fetch it again",
    ),
    "other weights": (
        lambda folder: load_weights_of_another_shape(folder, 1),
        "network of another shape: start from",
    ),
    "more weights": (
        lambda folder: load_weights_of_another_shape(folder, 3),
        "network of another shape: start from",
    ),
    "no graph": (
        lambda folder: onnxruntime.InferenceSession(folder / "no.onnx"),
        r"\.onnx file is missing: fetch",
    ),
    "damaged graph": (
        lambda folder: _session_of(folder, b"\xff" * 99),
        r"\.onnx file is damaged: fetch it again",
    ),
    "kernel": (
        lambda folder: _raise(tf.errors.UnimplementedError(None, None, "The Conv2D op does not support it.")),
        "cannot do a step of this on this machine's processor: try the precision float32",
    ),
    "json": (lambda folder: json.loads("{"), "cannot be read as JSON: restore it"),
}
# What nobody has foreseen, and what is told of it.
UNKNOWN = {
    "graph": (
        lambda folder: in_a_graph(lambda x: tf.raw_ops.Reshape(tensor=x, shape=[3]), _unknown_shape()),
        r"\(ValueError: Cannot reshape a tensor with 4 elements.*\)\.$",
    ),
    "eager": (
        lambda folder: tf.constant([1, 2]) + tf.constant([1, 2, 3]),
        r"\(InvalidArgumentError: Incompatible shapes",
    ),
    "layer": (
        lambda folder: (
            keras.Sequential([keras.layers.Dense(3)])(np.zeros((2, 3), "f")) @ np.zeros((4, 4), "f")
        ),
        r"\(InvalidArgumentError: .*Matrix",
    ),
    "python": (lambda folder: {}["a"], r"\(KeyError: 'a'\)\.$"),
    "silent": (lambda folder: _raise(RuntimeError()), r"\(RuntimeError\)\.$"),
    "lines": (
        lambda folder: _raise(RuntimeError("Traceback (most recent call last):\n  it broke\n")),
        "it broke",
    ),
    "colon": (lambda folder: _raise(RuntimeError("Graph execution error:")), r"\(RuntimeError\)\.$"),
}


def _raise(error):
    raise error


def _unknown_shape():
    return tf.ones(tf.random.uniform((1,), 4, 5, tf.int32))


def _load_damaged(folder):
    path = folder / "b.weights.h5"
    path.write_bytes(b"none of it")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)]).load_weights(path)


def _session_of(folder, data):
    (folder / "m.onnx").write_bytes(data)
    return onnxruntime.InferenceSession(folder / "m.onnx")


def is_a_sentence(text):
    assert "\n" not in text
    assert not text.rstrip().endswith(":")
    assert "Traceback" not in text and "{{node" not in text
    return True


@pytest.mark.parametrize("name", KNOWN)
def test_known_errors_say_what_happened_and_what_to_do(name, tmp_path):
    action, expected = KNOWN[name]
    error = raised(lambda: action(tmp_path))
    told = failures.known_sentence(error)
    assert told is not None, repr(error)
    assert is_a_sentence(told)
    assert failures.sentence(error, "its log") == told

    assert re.search(expected, told), told


@pytest.mark.parametrize("name", UNKNOWN)
def test_unforeseen_errors_give_their_class_and_their_own_last_line(name, tmp_path):

    action, expected = UNKNOWN[name]
    error = raised(lambda: action(tmp_path))
    assert failures.known_sentence(error) is None
    told = failures.sentence(error)
    assert is_a_sentence(told)
    assert re.search(expected, told), told
    with_log = failures.sentence(error, "its log")
    assert with_log == f"{told} The whole error is in its log."


def test_a_graph_s_error_is_told_by_what_it_says_and_not_by_where():
    text = (
        "Graph execution error:\n\nDetected at node model/aspp/Conv2D defined at (most recent call last):\n"
        "<stack traces unavailable>\nInput depth must be 3.\n\t [[{{node model/aspp/Conv2D}}]] [Op:__inference_1]"
    )
    assert failures.own_line(text) == "Input depth must be 3."


def test_long_messages_are_cut():
    assert len(failures.sentence(RuntimeError("x" * 5000))) < 500
