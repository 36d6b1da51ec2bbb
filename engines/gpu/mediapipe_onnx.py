"""MediaPipe's TFLite files as ONNX with a dynamic batch, for engines that run on a GPU.

OpenVINO reads the file with its sparse and half-precision weights, and its graph is converted operation by operation.
Nothing is retrained or rounded: the ONNX file computes what the TFLite file computes (the tests hold the largest
difference). Each file is converted once and kept in the cache. Needs the package onnx.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from engines.cache import cache_dir
from engines.errors import EngineError
from models.files import written_whole

if TYPE_CHECKING:
    import onnx

OPSET = 18
INPUT = "picture"
_TYPES = {"f32": np.float32, "i32": np.int32, "i64": np.int64}
_NHWC_TO_NCHW, _NCHW_TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


def onnx_file(tflite: Path, mean: float, scale: float) -> Path:
    """Return the ONNX file of a TFLite file, which is written at first use; see `convert` for `mean` and `scale`.

    Raise `EngineError` if it cannot be converted, or not be written to the cache.
    """
    parts = (tflite.read_bytes(), Path(__file__).read_bytes(), f"{mean} {scale} {ov.get_version()}".encode())
    key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:24]
    path = cache_dir() / "onnx" / key / f"{tflite.stem}.onnx"
    if not path.is_file():
        content = convert(tflite, mean, scale).SerializeToString()
        try:
            with written_whole(path) as aside:
                aside.write_bytes(content)
        except OSError as error:
            raise EngineError(
                f"{cache_dir()} cannot be written ({error.strerror or error}); "
                "set AFFECTSTREAM_CACHE to another folder."
            ) from error
    return path


def convert(tflite: Path, mean: float, scale: float) -> "onnx.ModelProto":
    """Return the network of a TFLite file, whose one input has a batch of 1, as a network for any batch.

    The input becomes "picture" (batch, height, width, 3) uint8, normalised inside as (picture - `mean`) / `scale`. The
    outputs keep their names, order and shapes. Raise `EngineError` for a file that cannot be read, an operation that is
    not known here, and without the package onnx.
    """
    try:
        from onnx import TensorProto, checker, helper
    except ImportError:
        raise EngineError("Perception on a GPU needs the package onnx: pip install 'affectstream[gpu]'.") from None
    try:
        network = ov.Core().read_model(tflite)
    except RuntimeError as error:
        raise EngineError(f"{tflite.name} is no TFLite file that can be read: {error}.") from error
    [parameter] = network.inputs
    graph = _Graph()
    normalised = graph.normalise(mean, scale)
    names = {parameter.get_node().get_name(): [normalised]}
    for node in network.get_ordered_ops():
        if node.get_type_name() not in ("Parameter", "Result"):
            graph.add(node, names)
    outputs = []
    for port in network.outputs:
        source = port.get_node().input(0).get_source_output()
        computed = names[source.get_node().get_name()][source.get_index()]
        graph.node("Identity", [computed], port.any_name)
        outputs.append(
            helper.make_tensor_value_info(port.any_name, TensorProto.FLOAT, ["batch", *list(port.shape)[1:]])
        )
    picture = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", *list(parameter.shape)[1:]])
    made = helper.make_graph(graph.nodes, tflite.stem, [picture], outputs, list(graph.constants.values()))
    # IR version 10 is read by every runtime that reads the operator set.
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    checker.check_model(model, full_check=True)
    return model


class _Graph:
    """Build an ONNX graph; `constants` are its weights by name, and `values` all constant arrays by name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.values: dict[str, NDArray[Any]] = {}

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node with one output and return that name; constant inputs become weights."""
        from onnx import helper, numpy_helper

        for name in inputs:
            if name in self.values and name not in self.constants:
                self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(self.values[name]), name)
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        """Note a constant array, which becomes a weight if a node reads it, and return its name."""
        self.values[name] = np.asarray(value)
        return name

    def normalise(self, mean: float, scale: float) -> str:
        """Add the nodes of (picture - mean) / scale in float32, and return the output's name."""
        from onnx import TensorProto

        x = self.node("Cast", [INPUT], "picture_float", to=TensorProto.FLOAT)
        x = self.node("Sub", [x, self.constant("picture_mean", np.float32(mean))], "picture_centred")
        return self.node("Div", [x, self.constant("picture_scale", np.float32(scale))], "picture_normalised")

    def add(self, node: Any, names: dict[str, list[str]]) -> None:
        """Add an operation of OpenVINO's graph; `names` are the tensors of earlier operations by their OpenVINO names.

        Raise `EngineError` for an operation that is not known here.
        """
        kind, facts = node.get_type_name(), node.get_attributes()
        name = f"{kind}_{len(names)}"  # OpenVINO's names differ at each reading and would change the file's hash
        sources = [port.get_source_output() for port in node.inputs()]
        inputs = [names[source.get_node().get_name()][source.get_index()] for source in sources]
        names[node.get_name()] = [name]
        if kind == "Constant":
            self.constant(name, node.get_data())
        elif all(i in self.values for i in inputs):
            self.constant(name, _folded(kind, facts, [self.values[i] for i in inputs]))
        elif kind == "Convert" and node.get_input_element_type(0) == node.get_output_element_type(0):
            names[node.get_name()] = inputs
        elif kind in ("Add", "Relu", "PRelu"):
            self.node(kind, inputs, name)
        elif kind in ("Convolution", "GroupConvolution"):
            self._convolution(name, facts, *inputs)
        elif kind == "MaxPool":
            self.node(
                "MaxPool", inputs, name,
                kernel_shape=facts["kernel"], strides=facts["strides"], pads=facts["pads_begin"] + facts["pads_end"],
            )  # fmt: skip
        elif kind == "Transpose":
            self.node("Transpose", inputs[:1], name, perm=self.values[inputs[1]].tolist())
        elif kind == "Concat":
            self.node("Concat", inputs, name, axis=facts["axis"])
        elif kind == "DepthToSpace":
            order = {"blocks_first": "DCR", "depth_first": "CRD"}[facts["mode"]]
            self.node("DepthToSpace", inputs, name, blocksize=facts["block_size"], mode=order)
        elif kind == "Reshape":
            shape = np.array([0, *list(node.get_output_shape(0))[1:]])  # 0 keeps the batch, whatever it is
            self.node("Reshape", [inputs[0], self.constant(f"{name}_shape", shape)], name)
        elif kind == "Pad" and facts["pad_mode"] == "constant":
            pads = np.concatenate([self.values[i] for i in inputs[1:3]]).astype(np.int64)
            self.node("Pad", [inputs[0], self.constant(f"{name}_pads", pads), inputs[3]], name)
        elif kind == "Interpolate":
            self._resize(node, name, facts, inputs)
        else:
            raise EngineError(f"The operation {kind} of a TFLite file is not known here; perception stays on the CPU.")

    def _convolution(self, name: str, facts: dict[str, Any], x: str, weight: str) -> None:
        """Add a convolution, with groups where the kernel has an axis for them."""
        kernel = self.values[weight]
        groups = 1
        if kernel.ndim == 5:  # (groups, out, in, height, width), where ONNX has (groups * out, in, height, width)
            groups = kernel.shape[0]
            kernel = kernel.reshape(-1, *kernel.shape[2:])
        self.node(
            "Conv", [x, self.constant(f"{name}_weight", kernel)], name,
            kernel_shape=list(kernel.shape[2:]), group=groups, strides=facts["strides"], dilations=facts["dilations"],
            pads=facts["pads_begin"] + facts["pads_end"],
        )  # fmt: skip

    def _resize(self, node: Any, name: str, facts: dict[str, Any], inputs: list[str]) -> None:
        """Add the resizing of pictures with channels last; engines resize with channels first.

        Raise `EngineError` for a way of resizing that is not known here.
        """
        expected = ("linear_onnx", "half_pixel", [1, 2])
        axes = self.values[inputs[2]].tolist()
        if (facts["mode"], facts["coordinate_transformation_mode"], axes) != expected or facts["antialias"]:
            raise EngineError(f"The operation Interpolate of a TFLite file is known as {expected} only.")
        old, new = node.get_input_shape(0), node.get_output_shape(0)
        scales = np.array([1, 1, new[1] / old[1], new[2] / old[2]], np.float32)
        x = self.node("Transpose", inputs[:1], f"{name}_first", perm=_NHWC_TO_NCHW)
        x = self.node(
            "Resize", [x, "", self.constant(f"{name}_scales", scales)], f"{name}_large",
            mode="linear", coordinate_transformation_mode="half_pixel",
        )  # fmt: skip
        self.node("Transpose", [x], name, perm=_NCHW_TO_NHWC)


def _folded(kind: str, facts: dict[str, Any], inputs: list[NDArray[Any]]) -> NDArray[Any]:
    """Return the result of an operation on constants. Raise `EngineError` for one that is not known here."""
    value = inputs[0]
    if kind == "Convert" and facts["destination_type"] in _TYPES:
        return value.astype(_TYPES[facts["destination_type"]])
    if kind == "Unsqueeze":
        return np.expand_dims(value, tuple(inputs[1].tolist()))
    if kind == "Transpose":
        return value.transpose(inputs[1])
    if kind == "Reshape":
        sizes = inputs[1].tolist()
        if facts["special_zero"]:
            sizes = [value.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
        return value.reshape(sizes)
    raise EngineError(f"The operation {kind} on constants of a TFLite file is not known here.")
