"""A TensorRT plan on a GPU, run by tensor names.

One code path for TensorRT 10.13 to 11.x and TensorRT-RTX. TensorRT reports failures as False or None and says why only
in its log: each result is checked, and the log's last lines are in the error. What holds TensorRT's objects is named
after their class (`engine` for ICudaEngine); tests/test_tensorrt_names.py checks every method used by that.
"""

from __future__ import annotations

import contextlib
import math
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from dtda.core.errors import DtdaError
from dtda.engines import nvidia, plan
from dtda.engines.device import Device, Memory, Pinned, Stream
from dtda.engines.driver import first_line
from dtda.engines.tensors import Array, Node, Tensor, check_feeds

STEADY = 2  # runs of one shape before it is captured as a CUDA graph


def let_go(error: BaseException) -> None:
    """Empty the frames of a failed call and of what caused it. Whoever keeps the error would keep, through them, objects
    of the GPU alive, to be destroyed at some later time in some other thread."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__


class Session:
    """A plan on a GPU, run by tensor names as onnxruntime's session is.

    It belongs to the thread that made it; calls from another one are refused. The GPU's context is current only during
    a call, so that sessions may be opened and closed in any order and a thread may end at any time.
    """

    def __init__(self, header: plan.Header, data: bytes, device: Device, trt: ModuleType | None = None) -> None:
        """data: the plan. device: a fresh one; it is taken over, and closed also when this fails. Raises DtdaError."""
        self.header = header
        self.device = device
        self.closed = False
        self._owner = threading.get_ident()
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._stream: Stream | None = None
        self._things: list[Stream | Memory | Pinned] = []  # to be freed
        self._tensors: dict[str, Tensor] = {}
        self._batched = False  # the first dimension of every tensor is the batch, between the header's min and max
        self._batch = 0  # the one the context is set to
        self._steady = 0  # runs at this batch
        self._graph = 0
        self._mark = nvidia.mark()  # in TensorRT's log, before the last attempt
        try:
            self._trt = nvidia.load(header.package) if trt is None else trt
            self._graphs = not nvidia.is_rtx(self._trt)  # RTX captures by itself
            with self._current():
                self._load(data)
                self._allocate()
        except BaseException as error:
            let_go(error)
            with contextlib.suppress(DtdaError):  # the first error is the one to tell
                self.close()
            raise

    @property
    def replays(self) -> bool:
        """Whether the last shape runs as a CUDA graph of ours."""
        return self._graph != 0

    def get_inputs(self) -> list[Node]:
        return [tensor.node() for tensor in self._inputs()]

    def get_outputs(self) -> list[Node]:
        return [tensor.node() for tensor in self._tensors.values() if not tensor.is_input]

    def run(self, outputs: list[str] | None, feeds: Mapping[str, Array]) -> list[Array]:
        """Fresh arrays of the outputs named, in their order, all unless named. feeds: an array for every input.

        Where the batch is dynamic any number of rows may be fed; what the engine does not take at once goes in several
        calls. Raises ValueError on other names, shapes or dtypes and after `close`, DtdaError when the GPU fails.
        """
        self._check_thread()
        if self.closed:
            raise ValueError("the session is closed")
        rows = check_feeds(self._inputs(), feeds)
        wanted = [self._tensors[name] for name in outputs or [node.name for node in self.get_outputs()]]
        try:
            return self._run(rows, wanted, feeds)
        except BaseException as error:
            let_go(error)
            raise

    def _run(self, rows: int, wanted: list[Tensor], feeds: Mapping[str, Array]) -> list[Array]:
        """In as many calls as the batch needs."""
        with self._current():
            if not self._batched:
                return self._step(rows, wanted, feeds)
            most = self.header.batch.max
            parts = [
                self._step(
                    min(most, rows - start), wanted, {name: x[start : start + most] for name, x in feeds.items()}
                )
                for start in range(0, rows, most)
            ]
        if not parts:
            return [np.empty((0, *tensor.shape[1:]), tensor.dtype) for tensor in wanted]
        return parts[0] if len(parts) == 1 else [np.concatenate(column) for column in zip(*parts, strict=True)]

    def close(self) -> None:
        """Free everything, in the reverse order of its making. Idempotent. Raises DtdaError when the GPU refuses."""
        if self.closed:
            return
        self._check_thread()
        self.closed = True
        trouble: list[DtdaError] = []
        try:
            with self._current():
                self._attempt(self._drop_graph, trouble)
                self._drop()
                while self._things:
                    self._attempt(lambda: self.device.free(self._things.pop()), trouble)
        except DtdaError as error:  # of the context; nothing more can be done than to let go
            trouble.append(error)
            self._drop()
        self._attempt(self.device.close, trouble)
        if trouble:
            raise trouble[0]

    def _drop(self) -> None:
        """Destroy TensorRT's objects, in this order."""
        self._context = None
        self._engine = None
        self._runtime = None
        self._tensors.clear()
        self._stream = None

    # -- opening --------------------------------------------------------------------------------------------------

    def _load(self, data: bytes) -> None:
        trt, again = self._trt, f"build it again: {self.header.rebuild}"
        try:
            self._runtime = trt.Runtime(nvidia.logger(trt))
        except (TypeError, RuntimeError) as error:  # "factory function returned nullptr"
            raise self._failure(f"{self.header.runtime} does not start", "see docs/gpu.md") from error
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise self._failure(f"{self.header.runtime} refuses the engine of {self.header.name}", again)
        if nvidia.is_rtx(trt):
            runtime_config = self._engine.create_runtime_config()
            runtime_config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            # Else it makes kernels for the shapes it meets in the background and changes to them while it runs: other
            # kernels than those that were compared with the student.
            runtime_config.dynamic_shapes_kernel_specialization_strategy = (
                trt.DynamicShapesKernelSpecializationStrategy.NONE
            )
            self._context = self._engine.create_execution_context(runtime_config)
        else:
            self._context = self._engine.create_execution_context()
        if self._context is None:
            raise self._failure(
                f"there is no room for {self.header.name} on the GPU", "close other programs or " + again
            )

    def _allocate(self) -> None:
        """The stream, and for every tensor page-locked and GPU memory of its size at the largest batch."""
        trt, engine, context = self._trt, self._engine, self._context
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        open_shapes = {name: tuple(engine.get_tensor_shape(name)) for name in names}
        self._check_tensors(names, inputs, open_shapes)
        self._batched = any(-1 in shape for shape in open_shapes.values())
        most = self.header.batch.max
        self._set_shapes({name: (most, *shape[1:]) if -1 in shape else shape for name, shape in open_shapes.items()
                          if name in inputs})  # fmt: skip
        self._stream = self.device.stream()
        self._things.append(self._stream)
        # In the header's order, which is the student's or detector's own: TensorRT numbers outputs as it likes
        # (NVIDIA/TensorRT#1042), and insightface goes by their position.
        for name in (told.name for told in self.header.tensors):
            shape = tuple(int(size) for size in context.get_tensor_shape(name))
            dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
            nbytes = max(1, math.prod(shape) * dtype.itemsize)
            self._things.append(memory := self.device.alloc(nbytes))
            self._things.append(pinned := self.device.pinned(nbytes))
            self._tensors[name] = Tensor(name, name in inputs, dtype, shape, self._batched, memory, pinned)
            if not context.set_tensor_address(name, memory.pointer):
                raise self._failure(f"TensorRT refuses the memory for {name}", "see docs/gpu.md")

    def _check_tensors(self, names: list[str], inputs: list[str], shapes: dict[str, tuple[int, ...]]) -> None:
        """Raises DtdaError unless the plan has the tensors its header names, batched in the first dimension or fixed."""
        engine, trt = self._engine, self._trt
        found = []
        for name in names:
            if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
                raise self._odd(f"{name} is not on the GPU")
            mode = "input" if name in inputs else "output"
            dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
            found.append((name, mode, dtype, shapes[name]))
        told = [(tensor.name, tensor.mode, tensor.dtype, tuple(tensor.shape)) for tensor in self.header.tensors]
        if sorted(told) != sorted(found):
            raise self._odd(f"its tensors are {sorted(found)}, its header says {sorted(told)}")
        starts = {shape[:1] for shape in shapes.values()}
        if any(-1 in shape[1:] for shape in shapes.values()) or ((-1,) in starts and starts != {(-1,)}):
            raise self._odd("dimensions other than the batch are dynamic")

    def _failure(self, what: str, way_out: str) -> DtdaError:
        return nvidia.failure(what, way_out, self._mark)

    def _odd(self, what: str) -> DtdaError:
        return DtdaError(f"The engine of {self.header.name} is not one of this program ({what}); build it again: "
                         f"{self.header.rebuild}")  # fmt: skip

    # -- running --------------------------------------------------------------------------------------------------

    def _step(self, rows: int, wanted: list[Tensor], feeds: Mapping[str, Array]) -> list[Array]:
        """One call of TensorRT."""
        assert self._stream is not None
        if self._batched and rows != self._batch:
            self._drop_graph()  # it is of the old shape, and the context moves on
            self._steady = self._batch = 0
            self._set_shapes({tensor.name: tensor.at(rows) for tensor in self._inputs()})
            self._batch = rows
        try:
            for name, array in feeds.items():
                tensor = self._tensors[name]
                tensor.view(rows)[...] = array
                self.device.upload(tensor.memory, tensor.pinned, tensor.nbytes(rows), self._stream)
            if self._graph:
                self.device.launch(self._graph, self._stream)
            elif not self._enqueue():
                raise self._failure(f"{self.header.name} failed on the GPU", "choose another engine or build it again")
            for tensor in wanted:
                self.device.download(tensor.pinned, tensor.memory, tensor.nbytes(rows), self._stream)
        except BaseException:
            with contextlib.suppress(DtdaError):  # what was enqueued still uses the buffers
                self.device.synchronise(self._stream)
            raise
        self.device.synchronise(self._stream)
        results = [tensor.view(rows).copy() for tensor in wanted]
        self._steady += 1
        if self._graphs and not self._graph and self._steady == STEADY:
            self._graph = self.device.capture(self._stream, self._enqueue)
            self._graphs = self._graph != 0  # what cannot be captured once is run without from then on
        return results

    def _enqueue(self) -> bool:
        assert self._stream is not None
        self._mark = nvidia.mark()
        try:
            return bool(self._context.execute_async_v3(self._stream.handle))
        except RuntimeError:
            return False

    def _set_shapes(self, shapes: dict[str, tuple[int, ...]]) -> None:
        context = self._context
        self._mark = nvidia.mark()
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise self._failure(
                    f"TensorRT refuses {list(shape)} for {name}", f"build it again: {self.header.rebuild}"
                )
        try:
            missing = context.infer_shapes()
        except RuntimeError as error:
            raise self._failure(
                f"TensorRT finds no shapes ({first_line(error)})", f"build it again: {self.header.rebuild}"
            ) from error
        if missing:
            raise self._odd(f"the shapes of {', '.join(missing)} are not known")

    def _drop_graph(self) -> None:
        graph, self._graph = self._graph, 0
        if graph:
            self.device.free_graph(graph)

    # -- around ---------------------------------------------------------------------------------------------------

    def _inputs(self) -> list[Tensor]:
        return [tensor for tensor in self._tensors.values() if tensor.is_input]

    def _check_thread(self) -> None:
        if threading.get_ident() != self._owner:
            raise DtdaError(
                f"{self.header.name} on TensorRT was called from the thread {threading.current_thread().name}, but it "
                "belongs to the one that opened it; this is a fault of the program, please report it."
            )

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """The GPU's context is this thread's."""
        self.device.push()
        try:
            yield
        finally:
            self.device.pop()

    def _attempt(self, step: Callable[[], object], trouble: list[DtdaError]) -> None:
        try:
            step()
        except DtdaError as error:
            let_go(error)
            trouble.append(error)
