"""TensorRT's runtime without TensorRT: plans hold an ONNX graph, which onnxruntime runs when the fake GPU's stream does.

Only members that the real classes have are public here (a test compares them with the recorded list).
"""

from __future__ import annotations

import enum
import json
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from fakes import Gpu, Library, bindings_driver, pycuda_driver

from dtda.core.sidecar import read_sidecar, sha256
from dtda.engines import device, driver, nvidia, plan, probe, store, tensorrt
from dtda.engines.probe import Probe

MAGIC = b"FAKE-PLAN"
VERSION = "11.4.0.106"


class Severity(enum.IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class DataType(enum.IntEnum):
    FLOAT, HALF, INT8, INT32, BOOL, UINT8 = range(6)


class TensorIOMode(enum.IntEnum):
    NONE, INPUT, OUTPUT = range(3)


class TensorLocation(enum.IntEnum):
    DEVICE, HOST = range(2)


class CudaGraphStrategy(enum.IntEnum):
    DISABLED, WHOLE_GRAPH_CAPTURE = range(2)


class DynamicShapesKernelSpecializationStrategy(enum.IntEnum):
    LAZY, EAGER, NONE = range(3)


DTYPES = {
    "tensor(float)": DataType.FLOAT, "tensor(float16)": DataType.HALF, "tensor(uint8)": DataType.UINT8,
    "tensor(int8)": DataType.INT8, "tensor(int32)": DataType.INT32, "tensor(bool)": DataType.BOOL,
}  # fmt: skip
NUMPY = {
    DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.UINT8: np.uint8,
    DataType.INT8: np.int8, DataType.INT32: np.int32, DataType.BOOL: np.bool_,
}  # fmt: skip


class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        self._made = True


class Dims:
    """As TensorRT's: a length and items, nothing else of a tuple."""

    def __init__(self, sizes: Any) -> None:
        self._sizes = tuple(sizes)

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: int) -> int:
        return self._sizes[index]


def fake_tensorrt(gpu: Gpu, rtx: bool = False, version: str = VERSION) -> ModuleType:
    """The module. trt.fail: names of methods that refuse, with what each returns instead. trt.living: objects alive."""
    trt = ModuleType("tensorrt_rtx" if rtx else "tensorrt")
    trt.fail = {}
    trt.capturable = True
    trt.enqueues = 0
    trt.living = []
    living: list[str] = trt.living

    def refuses(log: Any, method: str) -> bool:
        if method not in trt.fail:
            return False
        log.log(Severity.ERROR, f"{method}: as injected")
        return True

    class Object:
        """What is destroyed in order, in its thread, with the context current."""

        def __init__(self, log: Any) -> None:
            self._log, self._thread = log, threading.get_ident()
            living.append(type(self).__name__)

        def __del__(self) -> None:
            name = type(self).__name__
            if not hasattr(self, "_thread"):
                return  # it was never made
            living.remove(name)
            inner = {"Runtime": "ICudaEngine", "ICudaEngine": "IExecutionContext"}.get(name)
            if inner in living and living.count(inner) > living.count(name):
                gpu.violations.append(f"{name} was destroyed before its {inner}")
            if threading.get_ident() != self._thread:
                gpu.violations.append(f"{name} was destroyed in another thread")
            if not gpu.stack() and name != "Runtime":  # which holds nothing on the GPU
                gpu.violations.append(f"{name} was destroyed without a current context")

    class Runtime(Object):
        def __init__(self, logger: ILogger) -> None:
            if not isinstance(logger, ILogger) or not getattr(logger, "_made", False):
                raise TypeError("__init__(): incompatible constructor arguments")
            if "Runtime" in trt.fail:
                logger.log(Severity.ERROR, "CUDA initialization failure with error: 35")
                raise TypeError("pybind11::init(): factory function returned nullptr")
            super().__init__(logger)

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
            if refuses(self._log, "deserialize_cuda_engine"):
                return None
            if not serialized_engine.startswith(MAGIC):
                self._log.log(Severity.ERROR, "Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG failed.")
                return None
            (size,) = struct.unpack_from("<I", serialized_engine, len(MAGIC))
            start = len(MAGIC) + 4
            facts = json.loads(serialized_engine[start : start + size])
            if facts["version"] != version:
                self._log.log(
                    Severity.ERROR,
                    "The engine plan file is not compatible with this version of TensorRT, expecting library version "
                    f"{version} got {facts['version']}, please rebuild.",
                )
                return None
            if not gpu.stack():
                gpu.violations.append("deserialised without a current context")
            return ICudaEngine(self._log, serialized_engine[start + size :], facts["batch"])

    class ICudaEngine(Object):
        def __init__(self, log: Any, graph: bytes, batch: list[int]) -> None:
            super().__init__(log)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            options.log_severity_level = 3
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            self._batch = batch
            self._inputs = {node.name: node for node in self._session.get_inputs()}
            self._outputs = {node.name: node for node in self._session.get_outputs()}
            # Not in the graph's order, which TensorRT does not keep either.
            self._nodes = dict(reversed((self._inputs | self._outputs).items()))

        @property
        def num_io_tensors(self) -> int:
            return len(self._nodes)

        def get_tensor_name(self, index: int) -> str:
            return list(self._nodes)[index]

        def get_tensor_mode(self, name: str) -> TensorIOMode:
            return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

        def get_tensor_location(self, name: str) -> TensorLocation:
            return TensorLocation.HOST if "get_tensor_location" in trt.fail else TensorLocation.DEVICE

        def get_tensor_dtype(self, name: str) -> DataType:
            return DTYPES[self._nodes[name].type]

        def get_tensor_shape(self, name: str) -> Dims:
            return Dims(size if isinstance(size, int) else -1 for size in self._nodes[name].shape)

        def create_runtime_config(self) -> IRuntimeConfig:
            return IRuntimeConfig()

        def create_execution_context(self, runtime_config: IRuntimeConfig | None = None) -> IExecutionContext | None:
            if refuses(self._log, "create_execution_context"):
                return None
            if rtx and (runtime_config is None or runtime_config.cuda_graph_strategy is CudaGraphStrategy.DISABLED):
                gpu.violations.append("TensorRT-RTX was not told to use CUDA graphs")
            lazy = DynamicShapesKernelSpecializationStrategy.LAZY
            if rtx and (runtime_config is None or runtime_config.dynamic_shapes_kernel_specialization_strategy is lazy):
                gpu.violations.append("TensorRT-RTX may change its kernels after the comparison")
            return IExecutionContext(self._log, self)

    class IRuntimeConfig:
        def __init__(self) -> None:
            self.cuda_graph_strategy = CudaGraphStrategy.DISABLED
            self.dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY

    class IExecutionContext(Object):
        def __init__(self, log: Any, owner: ICudaEngine) -> None:
            super().__init__(log)
            # Not the engine itself, whose life must not depend on ours.
            self._session, self._batch = owner._session, owner._batch
            self._inputs, self._outputs = owner._inputs, owner._outputs
            self._sizes = {name: tuple(owner.get_tensor_shape(name)) for name in owner._nodes}
            self._given: dict[str, tuple[int, ...]] = {}
            self._addresses: dict[str, int] = {}
            gpu.users[id(self)] = set()  # what must outlive it
            self._state = {"generation": 0}  # counts changes of shapes and addresses
            self._warm = -1  # the generation that has run outside of a capture

        def __del__(self) -> None:
            gpu.users.pop(id(self), None)
            super().__del__()

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            if refuses(self._log, "set_input_shape"):
                return False
            wanted = self._sizes[name]
            low, _, high = self._batch
            fits = len(shape) == len(wanted) and all(
                size == want if want != -1 else low <= size <= high for size, want in zip(shape, wanted, strict=True)
            )
            if name not in self._inputs or not fits:
                self._log.log(Severity.ERROR, f"Static or profile dimension mismatch while setting {name} to {shape}")
                return False
            if self._given.get(name) != tuple(shape):
                self._state["generation"] += 1
            self._given[name] = tuple(shape)
            return True

        def infer_shapes(self) -> list[str]:
            if refuses(self._log, "infer_shapes"):
                raise RuntimeError("infer_shapes error code: -1")
            if "infer_shapes missing" in trt.fail:
                return ["image"]
            return [name for name in self._inputs if -1 in self._sizes[name] and name not in self._given]

        def get_tensor_shape(self, name: str) -> Dims:
            rows = {shape[0] for shape in self._given.values()}
            if name in self._given:
                return Dims(self._given[name])
            return Dims(size if size != -1 else next(iter(rows), -1) for size in self._sizes[name])

        def set_tensor_address(self, name: str, memory: int) -> bool:
            if refuses(self._log, "set_tensor_address") or name not in self._sizes:
                return False
            if memory not in gpu.memory:
                gpu.violations.append(f"the address of {name} is not memory of the GPU")
            self._addresses[name] = memory
            gpu.users[id(self)].add(memory)
            self._state["generation"] += 1
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            if not gpu.stack():
                gpu.violations.append("executed without a current context")
            if threading.get_ident() != self._thread:
                gpu.violations.append("executed in another thread")
            if refuses(self._log, "execute_async_v3"):
                return False
            if set(self._addresses) != set(self._sizes) or self.infer_shapes():
                self._log.log(Severity.ERROR, "enqueueV3: addresses or shapes are not all set")
                return False
            capture = gpu.captures.get(stream_handle)
            if capture is not None and not (trt.capturable and self._warm == self._state["generation"]):
                capture.valid = False  # allocations of a first run, or a layer that synchronises
                self._log.log(Severity.ERROR, "operation not permitted when stream is capturing")
                return False
            trt.enqueues += 1
            gpu.users[id(self)].add(stream_handle)
            if capture is None:
                self._warm = self._state["generation"]
            shapes = {name: tuple(self.get_tensor_shape(name)) for name in self._sizes}
            return gpu.enqueue(stream_handle, self._kernel(shapes, dict(self._addresses))) == 0

        def _kernel(self, shapes: Mapping[str, Any], addresses: Mapping[str, int]) -> Callable[[], None]:
            """Holds nothing of this object, whose life must not depend on a graph's."""
            session, outputs, inputs, state = self._session, list(self._outputs), self._inputs, self._state
            generation = state["generation"]

            def read(name: str) -> np.ndarray:
                dtype = np.dtype(NUMPY[DTYPES[inputs[name].type]])
                nbytes = int(np.prod(shapes[name])) * dtype.itemsize
                block = gpu.block(addresses[name], nbytes, gpu.memory, f"input {name}")
                return block.view(dtype).reshape(shapes[name])

            def work() -> None:
                if state["generation"] != generation:
                    gpu.violations.append("a graph of other shapes or addresses than the context's was run")
                results = session.run(outputs, {name: read(name) for name in inputs})
                for name, result in zip(outputs, results, strict=True):
                    raw = np.ascontiguousarray(result).reshape(-1).view(np.uint8)
                    gpu.block(addresses[name], raw.nbytes, gpu.memory, f"output {name}")[:] = raw

            return work

    vars(trt).update(
        __version__=version, ILogger=ILogger, Runtime=Runtime, ICudaEngine=ICudaEngine, DataType=DataType, Dims=Dims,
        IExecutionContext=IExecutionContext, TensorIOMode=TensorIOMode, TensorLocation=TensorLocation,
        nptype=lambda kind: NUMPY[kind],
    )  # fmt: skip
    if rtx:
        vars(trt).update(
            CudaGraphStrategy=CudaGraphStrategy, IRuntimeConfig=IRuntimeConfig,
            DynamicShapesKernelSpecializationStrategy=DynamicShapesKernelSpecializationStrategy,
        )  # fmt: skip
    return trt


def fake_plan(graph: bytes, batch: tuple[int, int, int] = (1, 1, 8), version: str = VERSION) -> bytes:
    """What the fake deserialises. batch: min, opt, max."""
    facts = json.dumps({"version": version, "batch": batch}).encode()
    return MAGIC + struct.pack("<I", len(facts)) + facts + graph


def tensors(graph: bytes) -> list[plan.Tensor]:
    """Inputs and outputs of an ONNX graph as headers tell of them."""
    model = onnx.load_model_from_string(graph).graph
    weights = {tensor.name for tensor in model.initializer}
    told = []
    for mode, nodes in (("input", model.input), ("output", model.output)):
        for node in nodes:
            if node.name in weights:
                continue
            kind = node.type.tensor_type
            shape = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim]
            dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
            told.append(plan.Tensor(name=node.name, mode=mode, dtype=dtype, shape=shape))
    return told


def write_engine(
    path: Path, student: Path, *, max_batch: int = 8, rtx: bool = False, record: bool = True, **changes: Any
) -> plan.Header:
    """An engine of the fake made from an ONNX student, in the ledger. changes: of the header."""
    graph = student.read_bytes()
    fields: dict[str, Any] = {
        "name": student.stem,
        "package": "tensorrt_rtx" if rtx else "tensorrt",
        "version": VERSION,
        "platform": plan.platform_tag(),
        "gpu": "Fake GPU",
        "compute_capabilities": ["8.9"],
        "precision": "fp32",
        "onnx_sha256": sha256(student),
        "onnx_path": str(student),
        "sidecar": read_sidecar(student) if changes.get("kind") != "detector" else None,
        "batch": plan.Batch(min=1, opt=1, max=max_batch),
        "tensors": tensors(graph),
    }
    header = plan.write(path, plan.Header(**(fields | changes)), fake_plan(graph, (1, 1, max_batch)))
    if record:
        store.record(header, path)
    return header


def ready(rtx: bool = False) -> Probe:
    """The verdict of a machine where the fake runs."""
    package = "tensorrt_rtx" if rtx else "tensorrt"
    return Probe(
        "ready", "TensorRT runs on the Fake GPU.", gpu="Fake GPU", compute_capability="8.9", memory_mb=8192,
        driver="580.65", cuda=13000, package=package, version=VERSION, versions={package: VERSION},
        can_build=True, build_package=package,
    )  # fmt: skip


@dataclass
class Rig:
    """A machine with a fake GPU. A test ends with `check`."""

    gpu: Gpu
    trt: ModuleType

    def check(self) -> None:
        """No rule was broken and nothing is left."""
        assert self.gpu.violations == []
        assert self.trt.living == []
        assert self.gpu.leaks == {}


def install(patch: pytest.MonkeyPatch, engines: Path, library: str = "pycuda", rtx: bool = False) -> Rig:
    """Put the fake GPU, driver, device library and TensorRT in the place of the real ones. engines: the store's folder."""
    gpu = Gpu()
    trt = fake_tensorrt(gpu, rtx)
    module = pycuda_driver(gpu) if library == "pycuda" else bindings_driver(gpu)
    patch.setitem(sys.modules, module.__name__, module)
    patch.setitem(sys.modules, trt.__name__, trt)
    if library == "pycuda":
        patch.setitem(sys.modules, "pycuda", ModuleType("pycuda"))
    patch.setattr(device, "installed", lambda: [library])
    patch.setattr(nvidia, "installed", lambda: [trt.__name__])
    patch.setattr(driver, "library", lambda: Library(gpu))
    verdict = ready(rtx)
    for owner in (probe, tensorrt):
        patch.setattr(owner, "probe", lambda refresh=False: verdict)
    patch.setenv("DTDA_ENGINES", str(engines))
    return Rig(gpu, trt)
