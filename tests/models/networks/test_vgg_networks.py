"""The VGG-FACE family against networks written once more in numpy, from the papers' equations."""

import numpy as np
import pytest
import torch

import models
from models.networks import tensorflow

torch.set_num_threads(1)
SMALL = {"width": 2, "fc": 12}
TIME = 3


def convolve(x, weight, bias):
    """3x3, zeros beyond the edges; x (planes, height, width)."""
    _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    out = np.zeros((len(weight), height, width))
    for dy in range(3):
        for dx in range(3):
            patch = padded[:, dy : dy + height, dx : dx + width]
            out += np.einsum("oi,iyx->oyx", weight[:, :, dy, dx], patch)
    return out + bias[:, None, None]


def pool(x):
    planes, height, width = x.shape
    return x.reshape(planes, height // 2, 2, width // 2, 2).max((2, 4))


def vgg(image, w):
    """Second and last pool of one picture, flattened."""
    x, index = image, 0
    for block, convolutions in enumerate((2, 2, 3, 3, 3)):
        for _ in range(convolutions):
            x = np.maximum(convolve(x, w[f"cnn.features.{index}.weight"], w[f"cnn.features.{index}.bias"]), 0)
            index += 2
        x, index = pool(x), index + 1
        if block == 1:
            middle = x.ravel()
    return middle, x.ravel()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru(xs, w, name, reset, layers=2, h=None):
    """Sequence (time, inputs) -> outputs (time, 128) and last states (layers, 128); equations of the two cells."""
    lasts = []
    for layer in range(layers):
        wi, wh, bi, bh = (w[f"{name}.{part}_l{layer}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        state = np.zeros(128) if h is None else h[layer]
        out = []
        for x in xs:
            a, b = wi @ x + bi, wh @ state + bh
            r, u = sigmoid(a[:128] + b[:128]), sigmoid(a[128:256] + b[128:256])
            if reset == "before":
                c = np.tanh(a[256:] + wh[256:] @ (r * state) + bh[256:])
            else:
                c = np.tanh(a[256:] + r * b[256:])
            state = u * state + (1 - u) * c
            out.append(state)
        xs = np.stack(out)
        lasts.append(state)
    return xs, np.stack(lasts)


def linear(x, w, name):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def weights_of(network, prefix=""):
    state = {key: value.double().numpy() for key, value in network.state_dict().items()}
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def made(name, **options):
    torch.manual_seed(0)
    network = models.create(name, **SMALL, **options).eval()
    for key, value in network.named_parameters():  # larger than the defaults, so that every part shows in the output
        if "features" in key and value.ndim == 4:
            torch.nn.init.kaiming_normal_(value)
    return network


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).uniform(-1, 1, (1, TIME, 3, 96, 96)).astype(np.float32)


@pytest.fixture(scope="module")
def landmarks():
    return np.random.default_rng(1).uniform(-1, 1, (1, TIME, 136)).astype(np.float32)


@torch.inference_mode()
@pytest.mark.parametrize("reset", ["after", "before"])
def test_affwildnet_is_its_equations(image, landmarks, reset):
    network = made("affwildnet", reset=reset)
    w = weights_of(network)
    last = np.stack([vgg(frame, w)[1] for frame in image[0]])
    fc = np.maximum(linear(np.concatenate((last, landmarks[0]), 1), w, "fc.0"), 0)
    hidden, state = gru(fc, w, "rnn", reset)
    out = network(torch.from_numpy(image), torch.from_numpy(landmarks))
    np.testing.assert_allclose(out["va"][0], linear(hidden, w, "output"), atol=1e-5)
    np.testing.assert_allclose(out["state"][0], state, atol=1e-5)


def levels_of(image, landmarks, w):
    middle, last = map(np.stack, zip(*(vgg(frame, w) for frame in image[0]), strict=True))
    fc = np.maximum(linear(np.concatenate((last, landmarks[0]), 1), w, "fc"), 0)
    return middle, last, fc


@torch.inference_mode()
def test_networks_over_several_levels_and_their_fusions_are_their_equations(image, landmarks):
    given = torch.from_numpy(image), torch.from_numpy(landmarks)
    fusion = made("fusion-rnn")
    w3, w1, w = weights_of(fusion, "cnn_3rnn."), weights_of(fusion, "cnn_1rnn."), weights_of(fusion)
    middle, last, fc = levels_of(image, landmarks, w3)
    three = [gru(x, w3, f"rnn{i}", "after")[0] for i, x in enumerate((fc, last, middle), start=1)]
    three = np.concatenate(three, 1)
    one, _ = gru(np.concatenate(levels_of(image, landmarks, w1), 1), w1, "rnn", "after")
    va3, va1 = linear(three, w3, "output"), linear(one, w1, "output")
    np.testing.assert_allclose(fusion.cnn_3rnn(*given)["va"][0], va3, atol=1e-5)
    np.testing.assert_allclose(fusion.cnn_1rnn(*given)["va"][0], va1, atol=1e-5)
    both = np.concatenate((three, one), 1)
    fused = linear(gru(both, w, "rnn", "after", layers=1)[0], w, "output")
    np.testing.assert_allclose(fusion(*given)["va"][0], fused, atol=1e-5)

    fully = made("fusion-fc")
    fully.cnn_3rnn, fully.cnn_1rnn = fusion.cnn_3rnn, fusion.cnn_1rnn
    w = weights_of(fully)
    expected = linear(np.maximum(linear(both, w, "fusion.0"), 0), w, "output")
    np.testing.assert_allclose(fully(*given)["va"][0], expected, atol=1e-5)

    decision = made("fusion-decision", ccc=((0.5, 0.2), (0.4, 0.3)))
    decision.cnn_3rnn, decision.cnn_1rnn = fusion.cnn_3rnn, fusion.cnn_1rnn
    expected = np.stack(((0.5 * va3[:, 0] + 0.4 * va1[:, 0]) / 0.9, (0.2 * va3[:, 1] + 0.3 * va1[:, 1]) / 0.5), 1)
    np.testing.assert_allclose(decision(*given)["va"][0], expected, atol=1e-5)


def assert_tasks(out, expected):
    for task, part in (("va", np.s_[..., :2]), ("expression", np.s_[..., 2:9]), ("au", np.s_[..., 9:])):
        np.testing.assert_allclose(out[task], expected[part], atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize(("name", "aus"), [("mt-vgg", 8), ("facebehaviornet", 17)])
def test_multi_task_network_is_its_equations(image, name, aus):
    network = made(name)
    w = weights_of(network)
    last = np.stack([vgg(frame, w)[1] for frame in image[0]])
    fc = np.maximum(linear(np.maximum(linear(last, w, "fc1"), 0), w, "fc2"), 0)
    expected = linear(fc, w, "output")
    assert expected.shape[1] == 2 + 7 + aus
    assert_tasks(network(torch.from_numpy(image[0])), expected)


def stream_of(image, w):
    last = np.stack([vgg(frame, w)[1] for frame in image[0]])
    return gru(np.maximum(linear(last, w, "fc1"), 0), w, "rnn", "after")[0]


@torch.inference_mode()
def test_recurrent_multi_task_networks_are_their_equations(image):
    network = made("mt-vgg-gru")
    w = weights_of(network)
    assert_tasks(network(torch.from_numpy(image)), linear(stream_of(image, w), w, "output")[None])

    network = made("av-mt-vgg-gru")
    w = weights_of(network)
    sound = np.random.default_rng(2).uniform(-1, 1, image.shape).astype(np.float32)
    streams = stream_of(image, weights_of(network, "visual.")), stream_of(sound, weights_of(network, "aural."))
    expected = linear(gru(np.concatenate(streams, 1), w, "rnn", "after")[0], w, "output")
    assert_tasks(network(torch.from_numpy(image), torch.from_numpy(sound)), expected[None])


@torch.inference_mode()
@pytest.mark.parametrize(
    "name",
    ["affwildnet", "cnn-3rnn", "cnn-1rnn", "fusion-rnn", "fusion-fc", "fusion-decision", "mt-vgg-gru", "av-mt-vgg-gru"],
)
def test_a_carried_state_gives_the_whole_sequences_outputs(image, landmarks, name):
    network = made(name)
    second = {"mt-vgg-gru": (), "av-mt-vgg-gru": (torch.from_numpy(image[:, ::-1].copy()),)}
    given = (torch.from_numpy(image), *second.get(name, (torch.from_numpy(landmarks),)))
    whole = network(*given)
    assert whole["state"].shape == (1, network.state_layers, 128)
    state = torch.zeros(1, network.state_layers, 128)
    for t in range(TIME):
        step = network(*(x[:, t : t + 1] for x in given), state=state)
        np.testing.assert_allclose(step["va"][:, 0], whole["va"][:, t], atol=1e-5)
        state = step["state"]


def test_the_two_resets_are_different_functions():
    torch.manual_seed(0)
    after, before = (models.create("affwildnet", reset=reset, **SMALL).rnn for reset in ("after", "before"))
    before.load_state_dict(after.state_dict())
    torch.nn.init.normal_(after.weight_hh_l0, std=0.3)
    before.weight_hh_l0.data.copy_(after.weight_hh_l0.data)
    x = torch.randn(1, 5, 12)
    assert (after(x)[0] - before(x)[0]).abs().max() > 0.01


def test_landmarks_are_given_if_and_only_if_the_network_has_them(image):
    with pytest.raises(ValueError, match="landmarks=True"):
        made("affwildnet")(torch.from_numpy(image))


@torch.inference_mode()
def test_the_residual_variant_has_a_layer_of_1500_units(image, landmarks):
    network = models.create("affwildnet", backbone="resnet50").eval()
    assert network.fc[0].weight.shape == (1500, 2048 + 136)
    out = network(torch.from_numpy(image[:, :1]), torch.from_numpy(landmarks[:, :1]))
    assert out["va"].shape == (1, 1, 2)


@torch.inference_mode()
def test_tensorflow_variables_give_tensorflows_outputs(image):
    """Height-width-channel order of the last pool, gates in one kernel, reset before the product: all as TensorFlow."""
    rng, planes, width = np.random.default_rng(3), 3, SMALL["width"]
    variables = {}
    for i, multiple in enumerate((1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8), start=1):
        out = multiple * width
        variables[f"conv_{i}/weights"] = rng.normal(0, (2 / (9 * planes)) ** 0.5, (3, 3, planes, out))
        variables[f"conv_{i}/biases"] = rng.normal(0, 0.1, out)
        planes = out
    variables["linear_1/weights"] = rng.normal(0, 0.2, (9 * planes, 12))
    variables["linear_1/biases"] = rng.normal(0, 0.1, 12)
    for layer, inputs in enumerate((12, 128)):
        cell = f"rnn_1/rnn/multi_rnn_cell/cell_{layer}/gru_cell"
        for part, units in (("gates", 256), ("candidate", 128)):
            variables[f"{cell}/{part}/kernel"] = rng.normal(0, 0.1, (inputs + 128, units))
            variables[f"{cell}/{part}/bias"] = rng.normal(0, 0.5, units)
    variables["rnn_1/weights_rnn"], variables["rnn_1/biases_rnn"] = rng.normal(0, 0.3, (128, 2)), rng.normal(0, 1, 2)

    xs = []
    for frame in image[0]:
        x, i = frame.astype(float), 1
        for convolutions in (2, 2, 3, 3, 3):
            for _ in range(convolutions):
                weight = variables[f"conv_{i}/weights"].transpose(3, 2, 0, 1)
                x, i = np.maximum(convolve(x, weight, variables[f"conv_{i}/biases"]), 0), i + 1
            x = pool(x)
        flat = x.transpose(1, 2, 0).ravel()
        xs.append(np.maximum(flat @ variables["linear_1/weights"] + variables["linear_1/biases"], 0))
    for layer in range(2):
        cell, h, out = f"rnn_1/rnn/multi_rnn_cell/cell_{layer}/gru_cell", np.zeros(128), []
        for x in xs:
            gates = np.concatenate((x, h)) @ variables[f"{cell}/gates/kernel"] + variables[f"{cell}/gates/bias"]
            r, u = sigmoid(gates[:128]), sigmoid(gates[128:])
            c = np.concatenate((x, r * h)) @ variables[f"{cell}/candidate/kernel"] + variables[f"{cell}/candidate/bias"]
            h = u * h + (1 - u) * np.tanh(c)
            out.append(h)
        xs = out
    expected = np.stack(xs) @ variables["rnn_1/weights_rnn"] + variables["rnn_1/biases_rnn"]

    network = models.create("affwildnet", landmarks=False, reset="before", **SMALL).eval()
    network.load_state_dict(tensorflow.state_dict(variables), strict=True)
    np.testing.assert_allclose(network(torch.from_numpy(image))["va"][0], expected, atol=1e-5)

    del variables["linear_1/weights"]
    with pytest.raises(models.ModelError, match="'linear_1/weights' is missing"):
        tensorflow.state_dict(variables)
