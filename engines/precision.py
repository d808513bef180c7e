"""A student in FP16 or INT8, as an ONNX file of its own: onnxruntime runs it, and TensorRT builds what it says.

Since TensorRT 11 the precision of an engine is that of its graph and no flag changes it. onnxruntime's own tools do the
conversion; what is ours is which nodes stay in FP32, and the comparison with the parent on real face chips.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import onnx

from dtda.core.errors import DtdaError
from dtda.core.sidecar import Sidecar, sha256, write_atomic, write_sidecar
from dtda.core.types import Floats, Image
from dtda.engines import parity
from dtda.engines.ort import open_session
from dtda.engines.parity import Parity

QUANTISED = ("Conv", "Gemm", "MatMul")  # the operations that INT8 is worth it for
CALIBRATION_SEED = 1  # other variations than those the gate compares on
# How deep the convolutions that stay in FP32 reach from the input: as little as it takes. What is lost there goes through
# all that follows. Mean |dp| of a pair-mobile student on the sample's 90 crops: 0.031 with none, 0.017 with 3, 0.006 with 6;
# keeping the first ones of the file, all of one branch, does not help it. Of an earlier student of one branch, on 323
# photos: 0.026, 0.016, 0.013, and 0.006 with 12; the best 3, 6 and 12, found by quantising each alone, gave it 0.016, 0.011,
# 0.006, those with the most noise at their input (onnxruntime.quantization.qdq_loss_debug) 0.025, 0.027, 0.023.
FIRST = (0, 3, 6, 12)
# Where no depth suffices, whole branches stay as well, all but one at most, beside the convolutions down to this depth. On
# twelve crops of one face, which say little of what a network meets, mean |dp| of the same student was 0.05 at any depth,
# and 0.009 with its MobileNetV3 in FP32 (0.05 with either of its MiniFASNets).
BESIDE_A_BRANCH = 6
CALIBRATING = 0.25  # its part of the time, where the fourth attempt is the last, as it was for student-mobile
# The part of the limits that the conversion may use up; the rest is for the rounding of the GPU's own kernels.
SHARE = 0.5

Step = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Converted:
    """A student in another precision.

    kept: names of the nodes left in FP32 that could have been converted. parity: with the parent, both in onnxruntime on
    the CPU; None where there was nothing to compare. notes: sentences for the user.
    """

    model: onnx.ModelProto
    precision: str
    kept: tuple[str, ...]
    parity: Parity | None
    notes: tuple[str, ...]


def load(path: Path, data: bytes | None = None) -> onnx.ModelProto:
    """The graph of a file, its nodes named. data: its bytes, where they have been read. Raises DtdaError when it is not
    ONNX or not sound."""
    try:
        model = onnx.load(path) if data is None else onnx.load_model_from_string(data)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's and onnx's errors have no base of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DtdaError(f"{path} is not a usable ONNX file ({reason}); export or download it again.") from error
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    return model


def convert(
    parent: Path,
    sidecar: Sidecar,
    precision: str,
    chips: Image,
    keep: Collection[str] = (),
    step: Step = lambda _: None,
    model: onnx.ModelProto | None = None,
) -> Converted:
    """The student in FP16 or INT8, compared with its parent.

    chips: uint8 [N, S, S, 3] RGB, real faces; INT8 is calibrated on them and on variations of them, and both precisions
    are compared with the parent on other variations. keep: nodes to leave in FP32. step: called with the part done, in
    [0, 1]; it may raise to stop. model: of `parent`, where it has been loaded. Raises DtdaError when the result does not
    say what its parent says.
    """
    if sidecar.precision != "fp32":
        raise DtdaError(f"{parent} is {sidecar.precision} already; convert the FP32 student that it was made from.")
    model = load(parent) if model is None else model
    test = np.concatenate([chips, parity.varied(chips)])
    expected = scores(model, test)
    notes: tuple[str, ...] = ()
    if precision == "fp16":
        made, kept = half(model, keep), set(keep)
        verdict = _judge(made, test, expected, sidecar, precision)
    else:
        made, verdict, kept = _quantised_well(model, chips, test, expected, sidecar, keep, step)
        count = len(chips) * (1 + parity.VARIATIONS)
        notes = (
            f"Calibrated on {len(chips)} face crops and variations of them, {count} pictures; {len(kept)} nodes whose "
            "results INT8 would change too much stay in FP32.",
        )
    if not verdict.passed:
        raise DtdaError(
            f"{parent}: in {precision.upper()} it is {verdict.sentence()}; use fp32"
            + (", or calibrate on more and other faces with --frames." if precision == "int8" else ".")
        )
    return Converted(made, precision, tuple(sorted(kept)), verdict, notes)


def save(path: Path, converted: Converted, parent: Sidecar) -> Sidecar:
    """Write a converted student and its sidecar, and return that. Raises DtdaError, OSError."""
    write_atomic(path, converted.model.SerializeToString())
    said = f"Converted to {converted.precision.upper()} from the FP32 student with sha256 {parent.sha256[:12]}"
    notes = [f"{said}, {converted.parity.sentence()}." if converted.parity else f"{said}.", *converted.notes]
    sidecar = parent.model_copy(
        update={"sha256": sha256(path), "precision": converted.precision, "notes": [*parent.notes, *notes]}
    )
    write_sidecar(path, sidecar)
    return sidecar


def half(model: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """In FP16, with inputs and outputs as they were. keep: names of nodes to leave in FP32. `model` is not changed."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # weights below FP16's smallest become that: the comparison tells whether it matters
        made: onnx.ModelProto = convert_float_to_float16(copy, keep_io_types=True, node_block_list=list(keep))
    # Around nodes that stay in FP32 the converter leaves types that are not true any more, and its casts at the end.
    del made.graph.value_info[:]
    OnnxModel(made).topological_sort()
    if not half_nodes(made):
        raise DtdaError("the graph has no convolution or product that could run in FP16; use fp32.")
    return made


def half_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions and products whose weights are FP16: empty when FP16 was asked for but not made."""
    weights = {each.name for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT16}
    return [node.name for node in model.graph.node if node.op_type in QUANTISED and weights & set(node.input)]


def grouped(model: onnx.ModelProto) -> list[str]:
    """Names of the grouped (depthwise) convolutions, which some versions of TensorRT refuse in FP16."""
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and any(each.name == "group" and each.i > 1 for each in node.attribute)
    ]


def quantised(
    model: onnx.ModelProto, calibration: Image, ranges: Path, keep: Collection[str] = (), step: Step = lambda _: None
) -> onnx.ModelProto:
    """In INT8 by pairs of QuantizeLinear and DequantizeLinear, in the form NVIDIA's parser accepts: symmetric, weights per
    channel, biases left alone. calibration: uint8 [N, S, S, 3] RGB. ranges: file of what was measured on them, the same for
    any `keep`; measured and written where it is not there yet, and only then is `step` called. The model given is not
    changed."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as folder, _quiet():
        out = Path(folder) / "int8.onnx"
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        quantize_static(
            copy,
            out,
            _Feed(calibration, step),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=list(keep),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
            calibration_cache_path=ranges,
        )
        return onnx.load(out)


def scores(model: onnx.ModelProto, chips: Image) -> Floats:
    """P(live) of each chip in onnxruntime on the CPU, float32 [N]. Raises DtdaError when the graph does not run."""
    session = open_session(model.SerializeToString(), "cpu", threads=2)
    planes = np.ascontiguousarray(chips.transpose(0, 3, 1, 2))
    size = parity.BATCH
    parts = [session.run(["p_live"], {"image": planes[at : at + size]})[0] for at in range(0, len(planes), size)]
    return np.concatenate(parts).astype(np.float32)


def _quantised_well(
    model: onnx.ModelProto,
    chips: Image,
    test: Image,
    expected: Floats,
    sidecar: Sidecar,
    keep: Collection[str],
    step: Step,
) -> tuple[onnx.ModelProto, Parity, set[str]]:
    """Quantise, and leave deeper and deeper convolutions in FP32, then branches, while the result is outside the limits."""
    calibration = np.concatenate([chips, parity.varied(chips, seed=CALIBRATION_SEED)])
    pooled = _after_pooling(model)
    depths = _depths(model)
    attempts = [(depth, frozenset[str]()) for depth in FIRST]
    branches = _branches(model)
    for count in range(1, len(branches)):
        attempts += [(BESIDE_A_BRANCH, frozenset().union(*some)) for some in combinations(branches, count)]
    with tempfile.TemporaryDirectory() as folder:
        ranges = Path(folder) / "ranges.json"
        for attempt, (depth, whole) in enumerate(attempts):
            kept = {*keep, *pooled, *whole, *(name for name, behind in depths.items() if behind < depth)}
            made = quantised(model, calibration, ranges, kept, lambda part: step(CALIBRATING * part))
            step(CALIBRATING + (1 - CALIBRATING) * attempt / len(attempts))
            verdict = _judge(made, test, expected, sidecar, "int8")
            if verdict.passed:
                break
    return made, verdict, kept


def _depths(model: onnx.ModelProto) -> dict[str, int]:
    """Of each convolution, the most that lie between it and the input on any way."""
    behind: dict[str, int] = {}  # of each value: convolutions up to it
    found = {}
    for node in model.graph.node:  # in topological order, as ONNX has them
        depth = max((behind.get(name, 0) for name in node.input), default=0)
        if node.op_type == "Conv":
            found[node.name] = depth
            depth += 1
        behind |= dict.fromkeys(node.output, depth)
    return found


def ways(model: onnx.ModelProto) -> list[set[str]]:
    """Names of the nodes that only this input of the last concatenation needs, input by input. Empty where nothing is
    concatenated."""
    made = {name: node for node in model.graph.node for name in node.output}
    joints = [node for node in model.graph.node if node.op_type == "Concat"]
    if not joints:
        return []
    found = []
    for name in joints[-1].input:
        way: set[str] = set()
        ahead = [name]
        while ahead:
            node = made.get(ahead.pop())
            if node is not None and node.name not in way:
                way.add(node.name)
                ahead += node.input
        found.append(way)
    shared = {name for way in found for name in way if sum(name in other for other in found) > 1}
    return [way - shared for way in found]


def _branches(model: onnx.ModelProto) -> list[frozenset[str]]:
    """The convertible nodes of each way, the shortest first."""
    convertible = {node.name for node in model.graph.node if node.op_type in QUANTISED}
    return sorted(filter(None, (frozenset(way & convertible) for way in ways(model))), key=len)


def _judge(model: onnx.ModelProto, test: Image, expected: Floats, sidecar: Sidecar, precision: str) -> Parity:
    from onnxruntime import __version__

    reference = f"the FP32 student, both in onnxruntime {__version__} on the CPU"
    return parity.judge(scores(model, test), expected, sidecar.threshold, SHARE * parity.LIMITS[precision], reference)


def _after_pooling(model: onnx.ModelProto) -> set[str]:
    """Convolutions and products that work on one value per channel: squeeze-and-excitation and the classifier.

    They cost nothing, and their inputs vary from person to person by more than a calibration sees.
    """
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    shapes |= {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.output}
    return {
        node.name
        for node in model.graph.node
        if node.op_type in QUANTISED and all(side == 1 for side in shapes.get(node.output[0], [0, 0, 0])[2:])
    }


class _Feed:
    """Chips one by one, as onnxruntime's calibration asks for them."""

    def __init__(self, chips: Image, step: Step) -> None:
        self._chips, self._step, self._next = chips, step, 0

    def get_next(self) -> dict[str, Image] | None:
        if self._next == len(self._chips):
            return None
        chip = self._chips[self._next]
        self._next += 1
        self._step(self._next / len(self._chips))
        return {"image": np.ascontiguousarray(chip.transpose(2, 0, 1)[None])}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime recommends a preprocessing, on the root logger, that an exported student has had."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
