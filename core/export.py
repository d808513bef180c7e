"""Checkpoint -> ONNX student and sidecar: uint8 in, P(live) out, with normalisation and sigmoid inside the graph."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from dtda.core.errors import DtdaError
from dtda.core.models.student import Student
from dtda.core.sidecar import Sidecar, Threshold, sha256, write_atomic, write_sidecar
from dtda.core.training.checkpoint import load_student
from dtda.core.types import Image

OPSET = 18
PARITY = 1e-4  # largest |difference of P(live)| between torch and onnxruntime in FP32


class Deployed(nn.Module):
    """uint8 [N, 3, S, S] RGB -> float32 [N] P(live), and with a cue map float32 [N, h, w] in [0, 1]: what the engine
    runs."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = self.student.feature_map(image.float() / 255)
        p_live = torch.sigmoid(self.student.classify(maps.mean((2, 3))))
        return (p_live,) if self.student.cue_head is None else (p_live, torch.sigmoid(self.student.cues(maps)))


def export(path: Path, out: Path, chips: Image, training_data: str, licence: str, notes: Sequence[str] = ()) -> float:
    """Write `out` and its sidecar from a finished checkpoint; returns the largest difference found.

    chips: uint8 [N, S, S, 3] RGB, real face chips on which torch and onnxruntime are compared: noise would hide a wrong
    colour order. Raises DtdaError when the run is unfinished or the two disagree; then `out` is not touched.
    """
    trained = load_student(path)
    state, config = trained.state, trained.config
    if "thresholds" not in state:
        raise DtdaError(f"{path}: its training has not finished, so it has no thresholds; go on with --resume.")
    size = config.data.size
    if chips.ndim != 4 or chips.shape[1:] != (size, size, 3) or not len(chips):
        raise ValueError(f"chips must be uint8 [N, {size}, {size}, 3]")
    model = Deployed(trained.student).eval()
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "student.onnx"
        _write(model, size, draft)
        difference = _parity(model, draft, chips)
        if difference > PARITY:
            raise DtdaError(
                f"{path}: the exported graph differs from the checkpoint by {difference:.2g} in P(live), more than "
                f"{PARITY:.0e}; nothing was written, please report this."
            )
        write_atomic(out, draft.read_bytes())
    flat = {
        f"{title}: {row}": {key: round(float(value), 5) for key, value in figures.items() if np.isfinite(value)}
        for title, rows in state["results"].items()
        for row, figures in rows.items()
    }
    thresholds = {name: Threshold.model_validate(value) for name, value in state["thresholds"].items()}
    sidecar = Sidecar(
        name=config.name,
        sha256=sha256(out),
        size=size,
        margin=config.data.margin,
        crop=config.data.crop,
        thresholds=thresholds,
        metrics=flat,
        training_data=training_data,
        licence=licence,
        git_revision=state["git_revision"],
        notes=list(notes),
    )
    write_sidecar(out, sidecar)
    return difference


def _write(model: Deployed, size: int, path: Path) -> None:
    """One self-contained file, batch dynamic."""
    example = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (example,),
            path,
            input_names=["image"],
            output_names=["p_live"] if model.student.cue_head is None else ["p_live", "cue_map"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
        )
    made = onnx.load(path)
    for node in made.graph.node:  # where in this source each came from: a tenth of a small student's file
        del node.metadata_props[:]
    onnx.save(made, path)


def _parity(model: Deployed, path: Path, chips: Image) -> float:
    """Largest difference over all outputs, in a batch and for a single picture."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import, as in dtda.engines
    import onnxruntime

    planes = np.ascontiguousarray(chips.transpose(0, 3, 1, 2))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = [output.numpy() for output in model(torch.from_numpy(planes))]
    differences = [
        np.abs(found - wanted[: len(found)]).max()
        for images in (planes, planes[:1])
        for found, wanted in zip(session.run(None, {"image": images}), expected, strict=True)
    ]
    return float(max(differences))
