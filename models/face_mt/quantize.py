"""The face network in 8-bit integers: post-training quantisation on real faces, with what it costs measured.

QDQ nodes, so that every runtime with 8-bit arithmetic can use the file.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from models.face_mt.data import TEST, TRAIN, VALIDATION, Sets
from models.face_mt.scores import concordance
from models.face_mt.served import Served
from models.files import written_whole
from models.labels import EXPRESSIONS
from models.onnx_quantize import quantised

SAMPLES = 300  # faces that the ranges are taken from
# Parts of the names of the weights that stay in float: the gates, and the first layers, of which all others are made.
_FLOAT = ("squeeze", "excite", "stem", "body.0")
_LARGE = ("unit_head.seen", "unit_head.moved")  # the only matrix products whose weights are worth their room in bytes


def _calibration(data: Sets) -> dict[str, NDArray[Any]]:
    """Return the inputs of grey training faces of all sources."""
    rng = np.random.default_rng(1)
    grey, points = [], []
    for faces in (data.ferplus, data.webva, data.faces):
        rows = np.flatnonzero(faces.split == TRAIN)
        picked = rng.choice(rows, min(SAMPLES // 3, len(rows)), replace=False)
        grey.append(faces.grey[picked])
        points.append(faces.points[picked])
    return {"face": np.repeat(np.concatenate(grey)[..., None], 3, axis=3), "points": np.concatenate(points)}


def quantise(weights: Path, data: Sets, out: Path) -> dict[str, float]:
    """Write the 8-bit version of `weights` to `out`; return its differences on FER+ validation and webva's test."""
    model = onnx.load(str(weights))
    small = _pooled(_by_lines(_packed(quantised(model, _calibration(data), _float_nodes(model), thorough=True))))
    onnx.checker.check_model(small)
    with written_whole(out) as aside:
        aside.write_bytes(small.SerializeToString())
    return compare(weights, out, data)


def _float_nodes(model: onnx.ModelProto) -> list[str]:
    """Return the nodes that stay in float: matrix products but those of `_LARGE`, and convolutions of `_FLOAT`."""

    def reads(node: onnx.NodeProto, parts: tuple[str, ...]) -> bool:
        return any(part in name for name in node.input for part in parts)

    return [
        node.name
        for node in model.graph.node
        if (node.op_type in ("Gemm", "MatMul") and not reads(node, _LARGE))
        or (node.op_type == "Conv" and reads(node, _FLOAT))
    ]


def _packed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same graph with the weights quantised in the file already: a quarter of the size."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in [n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] in stored]:
        values, scale, zero = (numpy_helper.to_array(stored[name]) for name in node.input)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        shape = [-1 if i == axis and scale.ndim else 1 for i in range(values.ndim)]
        limits = np.iinfo(zero.dtype)
        levels = np.rint(values / scale.reshape(shape)) + zero.reshape(shape)
        packed = np.clip(levels, limits.min, limits.max).astype(zero.dtype)
        model.graph.initializer.append(numpy_helper.from_array(packed, node.output[0]))
        model.graph.node.remove(node)
    return _without_unused(model)


def _without_unused(model: onnx.ModelProto) -> onnx.ModelProto:
    used = {name for node in model.graph.node for name in node.input}
    for tensor in [t for t in model.graph.initializer if t.name not in used]:
        model.graph.initializer.remove(tensor)
    return model


def _by_lines(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with the three colours of a pixel summed by the product that averages over columns.

    A sum over three neighbours fills no vector: with the product that followed it took a tenth of the network's time.
    It rounds in another order: in 4 of 300 frames of the demo a grey level fell on the other side of its 8-bit step,
    which moved valence and arousal by 0.0003 at most; the distance to float32 stayed the same.
    """
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    colours = next(node for node in graph.node if "view.luma" in node.input)  # (N, 112, 112, 3), weighted
    grey = next(node for node in graph.node if node.op_type == "ReduceSum")  # their sum
    over_rows, over_columns = (node for node in graph.node if node.op_type == "MatMul")
    luma, columns = (numpy_helper.to_array(stored[name]) for name in ("view.luma", "view.columns"))
    lines = np.array([0, len(columns), 3 * len(columns)], np.int64)  # shape; 0: as many faces as there are
    graph.initializer.append(numpy_helper.from_array(lines, "view.lines"))
    stored["view.luma"].CopyFrom(numpy_helper.from_array(np.tile(luma, len(columns)), "view.luma"))
    stored["view.columns"].CopyFrom(numpy_helper.from_array(np.repeat(columns, 3, axis=0), "view.columns"))
    reshape = onnx.helper.make_node("Reshape", [colours.input[0], "view.lines"], ["lines"], name="node_lines")
    graph.node.insert(list(graph.node).index(colours), reshape)
    colours.input[0] = "lines"
    grey.CopyFrom(onnx.helper.make_node("MatMul", [grey.input[0], "view.columns"], [grey.output[0]], name=grey.name))
    over_rows.output[0] = over_columns.output[0]
    graph.node.remove(over_columns)
    del graph.value_info[:]  # shapes that are no longer true
    return _without_unused(model)


def _pooled(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with means over grids as pooling, for which OpenVINO brings no grid into another order."""
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in inferred}
    for node in [n for n in model.graph.node if n.op_type == "ReduceMean"]:
        if next(a.i for a in node.attribute if a.name == "keepdims"):
            grid = shapes[node.input[0]][2:]
            made = onnx.helper.make_node("AveragePool", [node.input[0]], node.output, name=node.name, kernel_shape=grid)
            node.CopyFrom(made)
    return _without_unused(model)


def compare(weights: Path, small: Path, data: Sets) -> dict[str, float]:
    """Return what both files score on faces with labels, and how far their answers lie apart.

    Accuracy under the training prior on FER+ validation; accuracy of seven and concordance with people's ratings on
    webva's test; `_ccc` of the two files' valence, arousal and of the units together on FER+ validation.
    """
    fer, web = data.ferplus, data.webva
    rows, test = np.flatnonzero((fer.split == VALIDATION) & (fer.majority >= 0)), np.flatnonzero(web.split == TEST)
    figures: dict[str, float] = {}
    answers = []
    for name, path in (("", weights), ("_int8", small)):
        served = Served(path)
        on_fer, on_web = served(fer.grey[rows], fer.points[rows]), served(web.grey[test], web.points[test])
        answers.append(on_fer)
        figures[f"accuracy{name}"] = float((on_fer.trained.argmax(1) == fer.majority[rows]).mean())
        truth = web.majority[test]
        basic = truth < len(EXPRESSIONS)
        hit = on_web.balanced[basic, : len(EXPRESSIONS)].argmax(1) == truth[basic]
        figures[f"webva_accuracy{name}"] = float(hit.mean())
        for k, what in enumerate(("valence", "arousal")):
            figures[f"webva_{what}{name}"] = concordance(on_web.va[:, k], web.affect[test, k].astype(np.float64))
    a, b = answers
    return figures | {
        "same_top": float((a.balanced.argmax(1) == b.balanced.argmax(1)).mean()),
        "valence_ccc": concordance(a.va[:, 0], b.va[:, 0]),
        "arousal_ccc": concordance(a.va[:, 1], b.va[:, 1]),
        "units_ccc": concordance(a.intensities.reshape(-1), b.intensities.reshape(-1)),
        "valence_error": float(np.abs(a.va - b.va)[:, 0].mean()),
    }
