"""An ONNX student as a torch module, for timing torch beside onnxruntime and TensorRT without the checkpoint.

onnx2torch 1.5 knows none of opset 18's reductions, and onnx2pytorch 0.6 reads shapes from tensors, which breaks the graph
that torch.compile needs into pieces slower than eager mode; so the few operators of an exported student are read here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, fx, nn
from torch.nn import functional as F

from dtda.core.errors import DtdaError


def read_module(path: Path, output: str = "p_live") -> fx.GraphModule:
    """uint8 [N, 3, S, S] RGB -> float32 [N], as the graph computes it; in eval mode, its weights not trainable.

    Raises DtdaError for a file that is no ONNX model, and for operators that no exported student has.
    """
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's own exception, and OSError
        raise DtdaError(f"{path} is not a readable ONNX file; export the student again with `dtda export`.") from error
    graph, root = fx.Graph(), nn.Module()
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    values: dict[str, fx.Node] = {}
    for entry in model.graph.input:
        if entry.name not in constants:
            values[entry.name] = graph.placeholder(entry.name)

    def value(name: str) -> fx.Node | list[int] | None:
        if name in constants and constants[name].dtype == np.int64:  # shapes, axes, indices
            return constants[name].tolist()
        if name in constants and name not in values:
            root.register_buffer(f"constant_{len(values)}", torch.from_numpy(constants[name].copy()))
            values[name] = graph.get_attr(f"constant_{len(values)}")
        return values.get(name)

    for node in model.graph.node:
        operator = OPERATORS.get(node.op_type)
        if operator is None or node.domain not in ("", "ai.onnx"):
            raise DtdaError(f"{path}: torch runs it only without its operator {node.op_type}.")
        settings = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        if settings.pop("auto_pad", b"NOTSET") != b"NOTSET":
            raise DtdaError(f"{path}: torch runs it only with explicit padding.")
        if "to" in settings:  # numbers and types are resolved now: torch.compile would stop at them
            settings["to"] = _dtype(settings["to"])
        arguments = tuple(value(name) for name in node.input)
        values[node.output[0]] = graph.call_function(operator, arguments, settings)
    graph.output(values[output])
    graph.eliminate_dead_code()  # a cue map that nobody asked for
    return fx.GraphModule(root, graph).eval()


def _dtype(number: int) -> torch.dtype:
    """torch's type of an ONNX TensorProto.DataType."""
    return torch.from_numpy(np.empty(0, helper.tensor_dtype_to_np_dtype(number))).dtype


def _cast(x: Tensor, *, to: torch.dtype, saturate: int = 1) -> Tensor:
    return x.to(to)


def _conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, pads: Sequence[int] = (), strides: Sequence[int] = (1,),
          dilations: Sequence[int] = (1,), group: int = 1, kernel_shape: Sequence[int] = ()) -> Tensor:  # fmt: skip
    x, padding = _padded(x, pads, 0.0)
    return F.conv2d(x, weight, bias, tuple(strides), padding, tuple(dilations), group)


def _max_pool(x: Tensor, *, kernel_shape: Sequence[int], pads: Sequence[int] = (), strides: Sequence[int] = (1,),
              dilations: Sequence[int] = (1,), ceil_mode: int = 0, storage_order: int = 0) -> Tensor:  # fmt: skip
    x, padding = _padded(x, pads, float("-inf"))
    return F.max_pool2d(x, tuple(kernel_shape), tuple(strides), padding, tuple(dilations), bool(ceil_mode))


def _average_pool(x: Tensor, *, kernel_shape: Sequence[int], pads: Sequence[int] = (), strides: Sequence[int] = (1,),
                  ceil_mode: int = 0, count_include_pad: int = 0, dilations: Sequence[int] = ()) -> Tensor:  # fmt: skip
    if any(pads) or ceil_mode or any(step != 1 for step in dilations):
        raise DtdaError("only average pooling without padding is known")
    return F.avg_pool2d(x, tuple(kernel_shape), tuple(strides))


def _padded(x: Tensor, pads: Sequence[int], fill: float) -> tuple[Tensor, Any]:
    """pads: top, left, bottom, right. torch's layers pad both sides alike; others are padded here."""
    if not any(pads):
        return x, 0
    top, left, bottom, right = pads
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=fill), 0


def _gemm(a: Tensor, b: Tensor, c: Tensor | None = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,
          transB: int = 0) -> Tensor:  # fmt: skip
    a, b = a.T if transA else a, b.T if transB else b
    return alpha * (a @ b) if c is None else torch.addmm(c, a, b, beta=beta, alpha=alpha)


def _mean(x: Tensor, axes: Sequence[int] | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    if not axes and noop_with_empty_axes:
        return x
    return x.mean(tuple(axes or range(x.ndim)), keepdim=bool(keepdims))


def _reshape(x: Tensor, shape: list[int], *, allowzero: int = 0) -> Tensor:
    return x.reshape([x.shape[place] if not side and not allowzero else side for place, side in enumerate(shape)])


def _squeeze(x: Tensor, axes: list[int] | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def _unsqueeze(x: Tensor, axes: list[int]) -> Tensor:
    for axis in sorted(axes):
        x = x.unsqueeze(axis)
    return x


def _shape(x: Tensor, *, start: int = 0, end: int | None = None) -> list[int]:
    return list(x.shape[start:end])


def _concat(*parts: Any, axis: int) -> Any:
    """Of tensors, or of shapes."""
    return [side for part in parts for side in part] if isinstance(parts[0], list) else torch.cat(parts, axis)


def _slice(x: Tensor, starts: list[int], ends: list[int], axes: list[int] | None = None,
           steps: list[int] | None = None) -> Tensor:  # fmt: skip
    for number, axis in enumerate(axes or range(len(starts))):
        place, size = axis % x.ndim, x.shape[axis]
        start, stop, step = slice(starts[number], ends[number], steps[number] if steps else 1).indices(size)
        if step < 0:  # torch has no negative steps
            x, start, stop, step = x.flip(place), size - 1 - start, size - 1 - stop, -step
        x = x[(slice(None),) * place + (slice(start, stop, step),)]
    return x


def _resize(x: Tensor, roi: None, scales: None, sizes: list[int], *, mode: bytes = b"nearest", antialias: int = 0,
            coordinate_transformation_mode: bytes = b"half_pixel", **_: Any) -> Tensor:  # fmt: skip
    if (mode, coordinate_transformation_mode, antialias) != (b"linear", b"half_pixel", 0) or x.ndim != 4:
        raise DtdaError("only bilinear resizing is known")
    return F.interpolate(x, tuple(sizes[2:]), mode="bilinear", align_corners=False)


def _batch_norm(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, *, epsilon: float = 1e-5,
                momentum: float = 0.9, training_mode: int = 0) -> Tensor:  # fmt: skip
    return F.batch_norm(x, mean, variance, weight, bias, eps=epsilon)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    return F.prelu(x, slope.reshape(-1))


def _hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return F.hardsigmoid(x) if (round(alpha, 6), beta) == (0.166667, 0.5) else (alpha * x + beta).clamp(0, 1)


# What torch.onnx makes of the students of `student.STUDENTS`, and the casts of an FP16 one.
OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": torch.add,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": torch.clamp,
    "Concat": _concat,
    "Conv": _conv,
    "Div": torch.div,
    "Gemm": _gemm,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": F.hardswish,
    "MaxPool": _max_pool,
    "Mul": torch.mul,
    "PRelu": _prelu,
    "ReduceMean": _mean,
    "Relu": torch.relu,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Sigmoid": torch.sigmoid,
    "Slice": _slice,
    "Sqrt": torch.sqrt,
    "Squeeze": _squeeze,
    "Sub": torch.sub,
    "Unsqueeze": _unsqueeze,
}
