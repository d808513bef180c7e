"""A student run by torch itself, eager or compiled, for `dtda engine bench`: chips in, P(live) out, as an engine does it."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dtda.core.errors import DtdaError
from dtda.core.export import Deployed
from dtda.core.models.onnx_graph import read_module
from dtda.core.training.checkpoint import load_student
from dtda.core.types import Floats, Image

VERSION = torch.__version__


class TorchStudent:
    """P(live) of chips, in inference mode. `infer` and `close` as those of an engine."""

    def __init__(self, module: nn.Module, device: str, threads: int, compiled: bool) -> None:
        """module: uint8 [N, 3, S, S] -> float32 [N], or a tuple that begins with it. threads: of all torch in this process.

        device: "cpu" or "cuda". Raises DtdaError when torch sees no such device.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise DtdaError(f"torch {VERSION} sees no CUDA GPU.")
        torch.set_num_threads(threads)
        self._device = torch.device(device)
        self._module: nn.Module | None = module.eval().to(self._device)
        self._compiled = compiled
        self._caches = torch.compiler.config.force_disable_caches
        if compiled:
            # A cache of an earlier run would hide what compiling costs.
            torch.compiler.config.force_disable_caches = True
            for name in ("torch.utils.cpp_extension", "torch._inductor", "torch._dynamo"):
                logging.getLogger(name).setLevel(logging.ERROR)  # there they muse about GPUs that are not there
            self._module = torch.compile(self._module)

    def infer(self, chips: Image) -> Floats:
        """chips: uint8 [N, S, S, 3] RGB. Returns a fresh float32 [N]. Compiles first where that is needed.

        Raises DtdaError when torch.compile finds no compiler and when torch fails.
        """
        if self._module is None:
            raise ValueError("the student is closed")
        planes = torch.from_numpy(np.ascontiguousarray(chips.transpose(0, 3, 1, 2)))
        try:
            with torch.inference_mode(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch's developers to themselves
                found = self._module(planes.to(self._device))
                p_live = found[0] if isinstance(found, tuple) else found
                return p_live.float().cpu().numpy().copy()
        except Exception as error:  # the compiler's exceptions have no common base
            raise DtdaError(self._failure(error)) from error

    def _failure(self, error: Exception) -> str:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        if not self._compiled:
            return f"torch {VERSION} cannot run it ({reason})."
        return f"torch.compile cannot compile it ({reason}); it needs a C++ compiler and Python's headers."

    def close(self) -> None:
        self._module = None
        if self._compiled:
            torch.compiler.reset()
            torch.compiler.config.force_disable_caches = self._caches


def from_onnx(path: Path) -> nn.Module:
    """The module that an ONNX student describes. Raises DtdaError."""
    return read_module(path)


def from_checkpoint(path: Path, size: int) -> nn.Module:
    """The module of a checkpoint, its batch normalisation not folded. Raises DtdaError when it takes other chips."""
    trained = load_student(path)
    if trained.config.data.size != size:
        raise DtdaError(f"{path}: takes chips of {trained.config.data.size} px, the student beside it {size}.")
    return Deployed(trained.student)
