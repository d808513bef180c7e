#!/usr/bin/env python
"""What each branch of a student says by itself: one that training destroyed, or never used, hides behind the others.

python scripts/branches.py assets/student-mobile.onnx data/sim/manifest.csv

The live logit is a sum over branches. For each one, on dev people and on the held-out domain: the standard deviation of its
part of the logit, which is how much say it has, the AUC of that part alone, and that of all without it; a table in Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from dtda.core.data.manifest import Record, read_manifest
from dtda.core.data.protocols import resolve
from dtda.core.errors import DtdaError
from dtda.core.pictures import read_picture
from dtda.core.preprocess import CropRule, crop
from dtda.core.sidecar import read_sidecar
from dtda.core.types import Floats, Label
from dtda.engines.ort import open_session
from dtda.engines.precision import load, ways

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path, help="an ONNX file that `dtda export` wrote")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--fold", default="kiosk", help="the domain left out")
    parser.add_argument("--dev", type=int, default=900, help="pictures of the dev people")
    args = parser.parse_args()
    try:
        show(args)
    except DtdaError as error:
        raise SystemExit(f"branches: {error}") from error


def show(args: argparse.Namespace) -> None:
    model = load(args.student)
    rule = read_sidecar(args.student).rule
    records = read_manifest(args.manifest)
    (fold,) = resolve("sim-loo", records, args.fold)
    dev = np.random.default_rng(0).permutation(np.array(fold.dev))[: args.dev]
    print("| branch | pictures | say | AUC alone % | AUC of the others % |\n|---|---|---|---|---|")
    for part, numbers in (("dev", dev), ("held out", fold.test)):
        some = [records[number] for number in numbers]
        live = np.array([record.label is Label.LIVE for record in some])
        parts = said(model, some, rule)
        every = np.sum(list(parts.values()), axis=0)
        for name, logits in parts.items():
            alone, others = (100 * roc_auc_score(live, each) for each in (logits, every - logits))
            print(f"| {name} | {part} | {logits.std():.2f} | {alone:.1f} | {others:.1f} |")
        print(f"| all | {part} | {every.std():.2f} | {100 * roc_auc_score(live, every):.1f} | |")


def said(model: onnx.ModelProto, records: list[Record], rule: CropRule) -> dict[str, Floats]:
    """Of each branch, its part of the logits of N pictures, without the bias, float32 [N]."""
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    heads = [node for node in model.graph.node if node.op_type == "Gemm" and node.input[1] in constants]
    if not heads:
        raise DtdaError("this student has no linear head; give the FP32 or FP16 file of `dtda export`.")
    head = heads[-1]
    weights = constants[head.input[1]].reshape(-1).astype(np.float32)
    told = onnx.ModelProto()
    told.CopyFrom(model)
    told.graph.output.append(onnx.ValueInfoProto(name=head.input[0]))
    session = open_session(told.SerializeToString(), "cpu", threads=os.cpu_count() or 1)
    planes = chips(records, rule)
    features = np.concatenate([session.run([head.input[0]], {"image": batch})[0] for batch in planes])
    spoken = features.astype(np.float32) * weights
    return {name: spoken[:, span].sum(1) for name, span in spans(model, len(weights)).items()}


def chips(records: list[Record], rule: CropRule) -> Iterator[np.ndarray]:
    for start in tqdm(range(0, len(records), BATCH), unit="batch", disable=None):
        batch = [_chip(record, rule) for record in records[start : start + BATCH]]
        yield np.ascontiguousarray(np.stack(batch).transpose(0, 3, 1, 2))


def _chip(record: Record, rule: CropRule) -> np.ndarray:
    picture = read_picture(record.path)
    if picture is None:
        raise DtdaError(f"{record.path} cannot be read; make the set anew.")
    if record.points is None:
        raise DtdaError(f"{record.path} has no facial points in its manifest; `dtda prepare` finds them.")
    return crop(picture, record.points, rule)


def spans(model: onnx.ModelProto, features: int) -> dict[str, slice]:
    """Where in the features each branch has its own, by the module all its weights are of. Raises DtdaError for a student
    of one branch."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    joints = [node for node in graph.node if node.op_type == "Concat"]
    widths = {value.name: value.type.tensor_type.shape.dim[1:2] for value in graph.value_info}
    sizes = [side.dim_value for name in joints[-1].input for side in widths.get(name, ())] if joints else []
    if sum(sizes) != features or len(sizes) < 2:
        raise DtdaError("this student has one branch only.")
    ends = np.cumsum([0, *sizes]).tolist()
    return {
        _module(model, way): slice(start, end) for way, start, end in zip(ways(model), ends, ends[1:], strict=False)
    }


def _module(model: onnx.ModelProto, way: set[str]) -> str:
    inputs = {name for node in model.graph.node if node.name in way for name in node.input}
    paths = zip(*(name.split(".") for name in inputs if name.startswith("student.")), strict=False)
    common = itertools.takewhile(lambda words: len(set(words)) == 1, paths)
    return ".".join(words[0] for words in common).removeprefix("student.")


if __name__ == "__main__":
    main()
