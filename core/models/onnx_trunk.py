"""Any ONNX face model as the trunk of a teacher, in onnxruntime.

Many are exported for one picture at a time; their batch is set free in memory when that changes no figure.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dtda.core.errors import DtdaError
from dtda.core.types import Floats

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
CLOSE = 1e-3  # of the largest feature: batches may be summed in another order


class OnnxTrunk(nn.Module):
    """x float [B, 3, size, size] -> [B, width]. The arguments are those of `teachers.OnnxOptions`.

    dynamic: whether it computes batches at once. Raises DtdaError for a file that is no model, or not of this form.
    """

    def __init__(self, file: Path, size: int | None, output: str, threads: int, provider: str) -> None:
        super().__init__()
        self.file = file
        data = file.read_bytes()
        self._session = _session(file, data, threads, provider)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
            raise DtdaError(f"{file}: a teacher takes one float tensor [N, 3, S, S], this another; name a face model.")
        self._input = inputs[0].name
        batch, *shape = inputs[0].shape
        self.size = _side(file, shape, size)
        names = [found.name for found in self._session.get_outputs()]
        if output and output not in names:
            raise DtdaError(f"{file}: has no output {output}; it has {', '.join(names)}.")
        if not output and len(names) > 1:
            raise DtdaError(f"{file}: has several outputs; choose with option output one of {', '.join(names)}.")
        self._output = output or names[0]
        self.dynamic = not isinstance(batch, int)
        probe = np.random.default_rng(0).normal(0, 0.5, (3, 3, self.size, self.size)).astype(np.float32)
        alone = np.concatenate([self._run(self._session, one[None]) for one in probe])
        if self.dynamic:
            self.dynamic = self._agrees(self._session, probe, alone)
            return
        with contextlib.suppress(DtdaError):  # not every graph can be freed; then it is run one by one
            freed = _session(file, _freed(data), threads, provider)
            if self._agrees(freed, probe, alone):
                self._session, self.dynamic = freed, True

    def forward(self, x: Tensor) -> Tensor:
        pictures = np.ascontiguousarray(x.detach().float().cpu().numpy())
        if self.dynamic:
            found = self._run(self._session, pictures)
        else:
            found = np.concatenate([self._run(self._session, one[None]) for one in pictures])
        return torch.from_numpy(found).to(x.device)

    def _run(self, session: Any, pictures: Floats) -> Floats:
        try:
            found = np.asarray(session.run([self._output], {self._input: pictures})[0])
        except Exception as error:  # onnxruntime's exceptions have no base of their own
            first = str(error).strip().splitlines()[0]
            raise DtdaError(f"{self.file}: fails on a face of {self.size} px ({first}); check its size.") from error
        if found.ndim != 2 or len(found) != len(pictures) or found.shape[1] < 2 or not np.isfinite(found).all():
            raise DtdaError(f"{self.file}: gives {list(found.shape)} for {len(pictures)} faces; a teacher must give "
                            "[N, width] finite features; choose another output or model.")  # fmt: skip
        return found.astype(np.float32)

    def _agrees(self, session: Any, probe: Floats, alone: Floats) -> bool:
        try:
            return bool(np.abs(self._run(session, probe) - alone).max() <= CLOSE * np.abs(alone).max())
        except DtdaError:
            return False


def _side(file: Path, shape: list[int | str | None], asked: int | None) -> int:
    """Side of the input from its shape [3, S, S], or as asked where the graph leaves it open (a name or nothing)."""
    colours, *sides = (entry if isinstance(entry, int) else None for entry in shape)
    fixed = {side for side in sides if side is not None}
    if colours not in (3, None) or len(fixed) > 1:
        raise DtdaError(f"{file}: takes pictures of {shape}; a teacher takes [3, S, S]; name a face model.")
    if not fixed and asked is None:
        raise DtdaError(f"{file}: leaves the size of its input open; give it with option size.")
    if fixed and asked not in (None, *fixed):
        raise DtdaError(f"{file}: takes {fixed.pop()} px, not the {asked} of option size; leave that out.")
    return fixed.pop() if fixed else int(asked or 0)


def _session(file: Path, data: bytes, threads: int, provider: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # a freed graph that does not run is said by _agrees
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning takes the trainer's cores
    wanted = PROVIDERS[provider]
    session = None
    if wanted in onnxruntime.get_available_providers():
        try:
            session = onnxruntime.InferenceSession(data, options, providers=[wanted])
        except Exception as error:
            first = str(error).strip().splitlines()[0]
            raise DtdaError(f"{file}: not a usable ONNX file ({first}); export or download it again.") from error
    # onnxruntime falls back to the CPU without an exception when CUDA does not load.
    if session is None or session.get_providers()[0] != wanted:
        raise DtdaError(f"{file}: onnxruntime cannot use {provider} here; set the teacher's option provider to cpu.")
    return session


def _freed(data: bytes) -> bytes:
    """The graph for any number of pictures: first dimensions named, 1 in reshapes turned into "as is". It may not run."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(data)
    graph = model.graph
    for value in [*graph.input, *graph.output]:
        shape = value.type.tensor_type.shape
        if shape.dim and shape.dim[0].dim_value == 1:
            shape.dim[0].dim_param = "N"
    del graph.value_info[:]
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape" and len(node.input) > 1}
    for tensor in graph.initializer:
        if tensor.name in shapes:
            target = numpy_helper.to_array(tensor).copy()
            if target.ndim == 1 and len(target) and target[0] == 1:
                target[0] = 0
                tensor.CopyFrom(numpy_helper.from_array(target, tensor.name))
    return model.SerializeToString()
