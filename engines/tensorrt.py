"""The TensorRT backend: engines built by `dtda engine build`, on an NVIDIA GPU."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from dtda.core.errors import DtdaError
from dtda.core.types import EngineInfo, Floats, Image
from dtda.engines import nvidia, plan, store
from dtda.engines.base import check_chips
from dtda.engines.device import open_device
from dtda.engines.probe import probe
from dtda.engines.session import Session, let_go


def open_engine(path: Path, provider: str = "auto") -> TensorRtEngine:
    """Load a student's engine. Raises DtdaError when it is not ours, damaged, stale, or cannot run here."""
    if provider not in ("auto", "cuda"):
        raise DtdaError(
            f"{path} runs on an NVIDIA GPU only; leave --provider {provider} out, or name the ONNX student."
        )
    return TensorRtEngine(path, open_session(path, "student"))


def open_session(path: Path, kind: str) -> Session:
    """Load an engine for its named tensors. kind: "student" or "detector". Raises DtdaError.

    It is judged by header, ledger and probe before TensorRT sees it: plans are code, and foreign ones are not run.
    """
    header, data = plan.read_plan(path)  # at once: what is judged is what is loaded
    if header.kind != kind:
        way = "--detector" if header.kind == "detector" else "--engine"
        raise DtdaError(f"{path} is an engine of a {header.kind}, not of a {kind}; name it with {way}.")
    if not store.is_ours(header):
        raise DtdaError(store.foreign(path, header))
    here = probe()
    reason = plan.check(header, here)
    if reason:
        raise DtdaError(f"{path}: {reason}")
    trt = nvidia.load(header.package)
    if trt.__version__ != header.version:
        raise DtdaError(f"{path} is of {header.runtime}, here is {trt.__version__}; build it again: {header.rebuild}")
    return Session(header, data, open_device(library=here.device_library or None), trt)


class TensorRtEngine:
    """A student on an NVIDIA GPU; see `base.Engine`."""

    def __init__(self, path: Path, session: Session) -> None:
        """Takes the session over, and closes it when the engine turns out not to work."""
        header = session.header
        self._session = session
        try:
            if header.sidecar is None:
                raise DtdaError(f"{path} lacks its student's sidecar; build it again: {header.rebuild}")
            sidecar = header.sidecar
            notes = [] if header.parity is not None else ["not compared with its student: `dtda engine check`"]
            notes += [gone] if (gone := plan.unchecked(header)) else []
            self.info = EngineInfo(
                name=sidecar.name,
                path=str(path),
                backend=header.runtime,
                provider=f"{session.device.name} by {session.device.library}",
                precision=header.precision,
                size=sidecar.size,
                margin=sidecar.margin,
                threshold=sidecar.threshold,
                sha256=header.onnx_sha256,  # whose threshold and figures are meant
                max_batch=header.batch.max,
                notes=(*sidecar.notes, *header.notes, *notes),
                crop=sidecar.crop,
            )
            self.infer(np.zeros((1, sidecar.size, sidecar.size, 3), np.uint8))  # a broken engine fails now, not later
        except BaseException as error:
            let_go(error)
            with contextlib.suppress(DtdaError):  # the first error is the one to tell
                session.close()
            raise

    def infer(self, chips: Image) -> Floats:
        """All faces of a frame in one call; more than `max_batch` in several."""
        check_chips(chips, self.info.size)
        if self._session.closed:
            raise ValueError("the engine is closed")
        p_live = self._session.run(["p_live"], {"image": chips.transpose(0, 3, 1, 2)})[0]
        if p_live.shape != (len(chips),):
            raise self._failure(f"it returned shape {list(p_live.shape)} for {len(chips)} faces")
        if not np.all((p_live >= 0) & (p_live <= 1)):
            raise self._failure("it returned values outside [0, 1]")
        return p_live

    def _failure(self, what: str) -> DtdaError:
        again = self._session.header.rebuild
        return DtdaError(f"{self.info.path} does not work as a student ({what}); build it again: {again}")

    def close(self) -> None:
        self._session.close()
