"""Liveness networks from elsewhere on onnxruntime, used as their description says (core/foreign.py, docs/third-party.md)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from dtda.core.errors import DtdaError
from dtda.core.foreign import Foreign, Network, read_foreign
from dtda.core.sidecar import sha256
from dtda.core.types import EngineInfo, Floats, Image
from dtda.engines.base import check_chips
from dtda.engines.ort import open_session, student_threads

_KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def open_engine(path: Path, provider: str = "auto") -> ForeignEngine:
    """Load the networks of a description. Raises DtdaError when one does not fit it or the provider is not there."""
    if path.name.lower().endswith(".onnx.json"):
        raise DtdaError(f"{path}: is the sidecar of a student; name {path.with_suffix('')} instead.")
    return ForeignEngine(path, read_foreign(path), provider)


class ForeignEngine:
    """The mean P(live) of one or several networks; see `base.Engine`."""

    def __init__(self, path: Path, foreign: Foreign, provider: str) -> None:
        self._path, self._foreign, self._closed = path, foreign, False
        self._parts = [_Part(path, foreign, part, provider) for part in foreign.networks]
        first, *further = foreign.networks
        self.info = EngineInfo(
            name=foreign.name,
            path=str(path),
            backend=f"onnxruntime {onnxruntime.__version__}",
            provider=self._parts[0].provider,
            precision=self._parts[0].precision,
            size=first.size,
            margin=first.margin,
            threshold=foreign.threshold,
            sha256=_fingerprint(path, foreign),
            notes=_notes(foreign),
            crop=first.crop,
            further=tuple(part.rule for part in further),
        )
        # A broken graph fails now, not later.
        self.infer(*(np.zeros((1, part.size, part.size, 3), np.uint8) for part in foreign.networks))

    def infer(self, chips: Image, *further: Image) -> Floats:
        if self._closed:
            raise ValueError("the engine is closed")
        batches = (chips, *further)
        if len(batches) != len(self._parts) or len({len(batch) for batch in batches}) > 1:
            raise ValueError(f"{self.info.name} takes {len(self._parts)} batches of the same faces, not {len(batches)}")
        for batch, part in zip(batches, self._parts, strict=True):
            check_chips(batch, part.network.size)
        scores = [part.live(batch) for batch, part in zip(batches, self._parts, strict=True)]
        return np.asarray(np.mean(scores, axis=0), np.float32)

    def close(self) -> None:
        self._closed = True
        self._parts.clear()


class _Part:
    """One network in a session."""

    def __init__(self, path: Path, foreign: Foreign, network: Network, provider: str) -> None:
        self.network, self._path, self._foreign = network, path, foreign
        self._session = open_session(network.file, provider, student_threads())
        self.provider: str = self._session.get_providers()[0]
        self._input = self._only_input()
        self._output = self._named_output()
        self.precision = "fp16" if self._input.type == "tensor(float16)" else "fp32"

    def live(self, chips: Image) -> Floats:
        """P(live), float32 [N]. chips: uint8 [N, S, S, 3] RGB, N >= 0."""
        if not len(chips):
            return np.empty(0, np.float32)
        colours = (chips[..., ::-1] if self.network.order == "bgr" else chips).astype(np.float32)
        mean, std = (np.asarray(value, np.float32) for value in (self.network.mean, self.network.std))
        values: Floats = (colours - mean) / std
        planes = values if self._channels_last else values.transpose(0, 3, 1, 2)
        fed = np.ascontiguousarray(planes, dtype=_KINDS[self._input.type])
        one_by_one = isinstance(self._input.shape[0], int)
        batches = [fed[number : number + 1] for number in range(len(fed))] if one_by_one else [fed]
        return np.concatenate([self._live(batch) for batch in batches])

    def _live(self, fed: np.ndarray[Any, np.dtype[Any]]) -> Floats:
        try:
            found = np.asarray(self._session.run([self._output], {self._input.name: fed})[0], np.float32)
        except Exception as error:  # onnxruntime's exceptions have no base of their own
            raise self._wrong(f"fails ({str(error).strip().splitlines()[0]}); export it again") from error
        foreign = self._foreign
        if found.size != len(fed) * foreign.classes:
            width = found.size / len(fed)
            raise self._wrong(
                f"gives {width:g} values for a face, not the {foreign.classes} of `classes`; correct that"
            )
        p_live = probabilities(found.reshape(len(fed), foreign.classes), foreign.activation)[:, foreign.live]
        if foreign.classes == 1 and foreign.live == -1:
            p_live = 1 - p_live
        if not np.all((p_live >= 0) & (p_live <= 1)):
            raise self._wrong("gives values outside [0, 1]; set `activation` to softmax or sigmoid, or export it again")
        return p_live

    def _only_input(self) -> Any:
        nodes, size = self._session.get_inputs(), self.network.size
        if len(nodes) != 1:
            raise self._wrong(f"has {len(nodes)} inputs; only networks with one are known")
        (node,) = nodes
        if node.type not in _KINDS:
            raise self._wrong(f"takes {node.type}; only float and float16 are known, so export it so")
        shape = [length if isinstance(length, int) else None for length in node.shape]
        fits = [all(length in (None, wanted) for length, wanted in zip(shape[1:], sides, strict=True))
                for sides in ((3, size, size), (size, size, 3))] if len(shape) == 4 else [False, False]  # fmt: skip
        if not any(fits):
            raise self._wrong(f"takes the shape {node.shape}, not 3 x {size} x {size}; correct `size`")
        if shape[0] not in (None, 1):
            raise self._wrong(f"takes {shape[0]} faces at once; export it for one, or for any number")
        self._channels_last = not fits[0]
        return node

    def _named_output(self) -> str:
        names = [node.name for node in self._session.get_outputs()]
        wanted = self.network.output or (names[0] if len(names) == 1 else "")
        if wanted not in names:
            raise self._wrong(f"has the outputs {', '.join(names)}; name one of them as `output`")
        return wanted

    def _wrong(self, what: str) -> DtdaError:
        return DtdaError(f"{self._path}: {self.network.file.name} {what} (docs/third-party.md).")


def probabilities(values: Floats, activation: str) -> Floats:
    """What a network's output says, float32 [N, classes]. activation: as in `Foreign`."""
    if activation == "none":
        return values
    if activation == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(values / 2)), np.float32)  # does not overflow
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _notes(foreign: Foreign) -> tuple[str, ...]:
    """For the window's tooltip and reports."""
    source = f" ({foreign.source})" if foreign.source else ""
    crops = [f"{part.crop} {part.margin:g}, {part.size} px" for part in foreign.networks]
    several = f"; mean of {len(crops)} networks" if len(crops) > 1 else ""
    return (
        f"Trained elsewhere{source}; licence: {foreign.licence}",
        f"Crop: {', '.join(crops)}{several}",
        f"Threshold {foreign.threshold:g}: {foreign.threshold_rule}",
        *foreign.notes,
    )


def _fingerprint(path: Path, foreign: Foreign) -> str:
    """sha256 of the description and of the files that it names."""
    parts = [sha256(path), *(sha256(part.file) for part in foreign.networks)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()
