"""Plain NumPy versions of the layers that the models are checked against. Tensors are (B, H, W, C)."""

import numpy as np

_RNG = np.random.default_rng(0)


def features(*shape):
    """A float32 tensor of random numbers."""
    return _RNG.normal(size=shape).astype(np.float32)


def conv2d(x, kernel, bias=None, rate=1):
    """Stride 1, zero padding to the same size: one product for each tap of the kernel (kh, kw, C, K)."""
    height, width = x.shape[1:3]
    reach = [rate * (size - 1) // 2 for size in kernel.shape[:2]]
    padded = np.pad(x, ((0, 0), (reach[0],) * 2, (reach[1],) * 2, (0, 0)))
    out = 0.0
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            out = out + padded[:, i * rate : i * rate + height, j * rate : j * rate + width] @ kernel[i, j]
    return out if bias is None else out + bias


def batch_norm(x, gamma, beta, mean, variance, epsilon):
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


def relu(x):
    return np.maximum(x, 0)


def randomise(model, seed=0):
    """Give every weight of a Keras model a random value that keeps activations at a sane scale."""
    rng = np.random.default_rng(seed)
    values = []
    for variable in model.weights:
        name, shape = variable.name, variable.shape
        if name in ("gamma", "moving_variance"):
            values.append(rng.uniform(0.5, 1.5, shape))
        elif name in ("beta", "moving_mean", "bias"):
            values.append(rng.normal(0, 0.1, shape))
        else:
            # He's scale; a depthwise kernel (kh, kw, C, 1) has only its window as fan-in.
            fan_in = np.prod(shape[:2]) if shape[-1] == 1 else np.prod(shape[:-1])
            values.append(rng.normal(0, np.sqrt(2 / fan_in), shape))
    model.set_weights(values)
    return model


def close(a, b, tolerance=1e-5):
    """Whether two arrays differ by at most ``tolerance`` of the larger one's greatest magnitude."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return a.shape == b.shape and np.abs(a - b).max() <= tolerance * max(1.0, np.abs(b).max())
