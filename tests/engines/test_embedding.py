"""The features behind a served network's expressions come out of the very file, and change none of its outputs."""

import numpy as np
import openvino as ov
import pytest
from helpers.default_model import inputs
from openvino import opset13 as ops

from engines import weights
from engines.embedding import with_embedding
from engines.errors import WeightsError
from engines.openvino import OpenVinoEngine


def test_the_four_outputs_stay_as_they_are_and_expressions_follow_from_the_features():
    path, given = weights.path("face-mt"), inputs(6)
    plain = OpenVinoEngine(path, threads=1)(given)
    wide = OpenVinoEngine(with_embedding(path), threads=1)(given)
    assert wide.keys() == {*plain, "embedding"}
    for name, x in plain.items():
        np.testing.assert_allclose(wide[name], x, atol=1e-5, err_msg=name)
    features = wide["embedding"]
    assert features.shape[0] == 6
    assert np.linalg.matrix_rank(features - features[0], tol=1e-4) == 5  # each face has its own


def test_they_are_what_the_last_linear_layer_reads(tmp_path):
    rng = np.random.default_rng(0)
    x = ops.parameter([-1, 4], np.float32, name="face")
    hidden = ops.relu(x)
    product = ops.matmul(hidden, rng.normal(size=(4, 3)).astype(np.float32), False, False)
    logits = ops.add(ops.constant(rng.normal(size=(1, 3)).astype(np.float32)), product)  # whichever comes first
    y = ops.softmax(ops.divide(logits, np.float32(2.0)), 1)
    network = named(ov.Model([y], [x]), tmp_path / "small.xml")
    given = rng.normal(size=(5, 4)).astype(np.float32)
    found = OpenVinoEngine(with_embedding(network), caching=False)({"face": given})
    np.testing.assert_allclose(found["embedding"], np.maximum(given, 0), atol=1e-6)


def named(model, path):
    """Saves a model whose only output is called as the face network's is."""
    model.output(0).get_tensor().set_names({"expression"})
    ov.save_model(model, path)
    return path


def test_a_network_without_a_linear_layer_has_none(tmp_path):
    x = ops.parameter([-1, 4], np.float32, name="face")
    network = named(ov.Model([ops.softmax(x, 1)], [x]), tmp_path / "flat.xml")
    with pytest.raises(WeightsError, match="no linear layer before 'expression'"):
        with_embedding(network)
