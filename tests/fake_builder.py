"""TensorRT's parser and builder without a GPU, for what TensorRT-RTX on a CPU cannot show: TensorRT proper, its timing
cache, kernels that are missing, builds that run out of memory or give something else than their student.

It makes plans that `fake_tensorrt` runs. `trt.builds` counts; `trt.refuse` names what fails next.
"""

from __future__ import annotations

import enum
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from fake_tensorrt import DataType, Severity, fake_plan

from dtda.engines import builder, precision


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class BuilderFlag(enum.IntEnum):
    TF32 = 7


class MemoryPoolType(enum.IntEnum):
    WORKSPACE = 0


class ComputeCapability(enum.IntEnum):
    SM86, SM89, SM120 = range(3)


class IProgressMonitor:
    def __init__(self) -> None:
        self._made = True


TYPES = {1: DataType.FLOAT, 2: DataType.UINT8, 3: DataType.INT8, 7: DataType.INT32, 10: DataType.HALF}


class Tensor:
    def __init__(self, value: onnx.ValueInfoProto) -> None:
        self.name = value.name
        kind = value.type.tensor_type
        self.shape = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim]
        self.dtype = TYPES.get(kind.elem_type, DataType.INT32)


class Layer:
    def __init__(self, values: list[onnx.ValueInfoProto]) -> None:
        self._values = values
        self.num_outputs = len(values)

    def get_output(self, index: int) -> Tensor:
        return Tensor(self._values[index])


class Network:
    model: onnx.ModelProto

    def fill(self, graph: bytes) -> None:
        self.model = onnx.load_model_from_string(graph)
        inferred = onnx.shape_inference.infer_shapes(self.model).graph
        known = {value.name: value for value in [*inferred.value_info, *inferred.output]}
        self._layers = [Layer([known[name] for name in node.output if name in known]) for node in inferred.node]

    num_inputs = property(lambda self: len(self.model.graph.input))
    num_outputs = property(lambda self: len(self.model.graph.output))
    num_layers = property(lambda self: len(self._layers))

    def get_input(self, index: int) -> Tensor:
        return Tensor(self.model.graph.input[index])

    def get_output(self, index: int) -> Tensor:
        return Tensor(self.model.graph.output[index])

    def get_layer(self, index: int) -> Layer:
        return self._layers[index]


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, name: str, low: Any, opt: Any, high: Any) -> None:
        self.shapes[name] = (low, opt, high)

    def __bool__(self) -> bool:
        return all(
            a <= b <= c for low, opt, high in self.shapes.values() for a, b, c in zip(low, opt, high, strict=True)
        )


class Cache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data


class Config:
    builder_optimization_level = 3
    progress_monitor: Any = None

    def __init__(self, trt: ModuleType) -> None:
        self._trt = trt
        self.profiles: list[Profile] = []
        self.cache: Cache | None = None
        self.tf32 = True
        self.workspace = 0

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.tf32 = False

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        self.workspace = size

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return -1 if "profile" in self._trt.refuse else len(self.profiles) - 1

    def create_timing_cache(self, data: bytes) -> Cache | None:
        return Cache(data)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache.data and not cache.data.startswith(b"fake-cache"):
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Cache | None:
        return self.cache


def install_builder(trt: ModuleType) -> ModuleType:
    """Add parser and builder to the module that `fake_tensorrt` made."""
    trt.refuse = set()
    trt.builds = 0
    trt.gain = 1.0  # of the plan's scores over the student's
    trt.configs = []
    trt.on_step = lambda number: None

    class Builder:
        def __init__(self, logger: Any) -> None:
            if "Builder" in trt.refuse:
                logger.log(Severity.ERROR, "CUDA initialization failure with error: 35")
                raise TypeError("pybind11::init(): factory function returned nullptr")
            self._log = logger

        def create_network(self, flags: int) -> Network:
            assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
            return Network()

        def create_builder_config(self) -> Config:
            trt.configs.append(Config(trt))
            return trt.configs[-1]

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
            trt.builds += 1
            monitor = config.progress_monitor
            monitor.phase_start("Building engine", None, 4)
            for number in range(4):
                monitor.phase_start("Timing", "Building engine", 2)
                trt.on_step(number)
                for step in range(2):
                    if monitor.step_complete("Timing", step) is not True:
                        self._log.log(Severity.ERROR, "Error Code 7: BuildCanceled (Build canceled by user)")
                        return None
                monitor.phase_finish("Timing")
                monitor.step_complete("Building engine", number)
            monitor.phase_finish("Building engine")
            halves = set(precision.half_nodes(network.model))
            if "grouped" in trt.refuse and halves & set(precision.grouped(network.model)):
                text = f"{builder.NO_KERNEL} for this strongly-typed Conv"
                self._log.log(Severity.ERROR, f"IBuilder::buildSerializedNetwork: Error Code 10: {text}")
                return None
            if "memory" in trt.refuse:
                self._log.log(Severity.ERROR, "Requested amount of GPU memory could not be allocated")
                return None
            if config.cache is not None:
                config.cache.data = b"fake-cache" + config.cache.data[-20:] + b"+"
            shapes = next(iter(config.profiles[0].shapes.values())) if config.profiles else ((1,), (1,), (1,))
            low, opt, high = (shape[0] for shape in shapes)
            return fake_plan(scaled(network.model, trt.gain).SerializeToString(), (low, opt, high))

    class OnnxParser:
        def __init__(self, network: Network, logger: Any) -> None:
            self._network = network
            self.num_errors = 0

        def parse(self, model: bytes) -> bool:
            if "parse" in trt.refuse:
                self.num_errors = 1
                return False
            self._network.fill(model)
            return True

        def get_error(self, index: int) -> Any:
            class ParserError:
                def desc(self) -> str:
                    return "In node 3 (importX): UNSUPPORTED_NODE:\n no importer for X."

            return ParserError()

    vars(trt).update(
        Builder=Builder, OnnxParser=OnnxParser, BuilderFlag=BuilderFlag, MemoryPoolType=MemoryPoolType,
        NetworkDefinitionCreationFlag=NetworkDefinitionCreationFlag, IProgressMonitor=IProgressMonitor,
        ComputeCapability=ComputeCapability,
    )  # fmt: skip
    return trt


def scaled(model: onnx.ModelProto, gain: float) -> onnx.ModelProto:
    """The student with its P(live), or the detector with its scores, times `gain`."""
    score = model.graph.output[0].name
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if gain != 1:
        for node in copy.graph.node:
            for index, name in enumerate(node.output):
                if name == score:
                    node.output[index] = "before"
        copy.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(gain), "gain"))
        copy.graph.node.append(onnx.helper.make_node("Mul", ["before", "gain"], [score]))
    return copy
