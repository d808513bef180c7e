"""`dtda train`: train a student from a configuration file."""

from __future__ import annotations

import argparse
import importlib.util
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from dtda.core.errors import DtdaError

TRAINING = (
    "torch",
    "torchvision",
    "tensorboard",
    "onnx",
    "onnxscript",
    "sklearn",
    "matplotlib",
    "lightning_fabric",
    "filelock",
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="TOML file, see docs/training.md")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="section.key=value",
        help="changes to the configuration, named before the options",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (default: runs/<name>)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in that folder")


def run(args: argparse.Namespace) -> int:
    from dtda.core.training.config import read_config

    config = read_config(args.config, args.overrides)
    out = args.out or Path("runs") / config.name
    for manifest in config.data.manifests:  # what is cheap to see is said before torch is imported
        require_file(manifest, "make one with `dtda simulate` or `dtda prepare`")
    if args.resume:
        require_file(out / "last.ckpt", "leave --resume out to start a run")
    require_extra()
    from dtda.app.commands.simulate import detector
    from dtda.core.sidecar import naming
    from dtda.core.training.loop import train

    threading.excepthook = untold
    with naming(out):
        path = train(config, out, args.resume, detector)
    if os.environ.get("RANK", "0") == "0":
        print(f"trained: {path}; next: dtda evaluate {path}, dtda export {path} -o student.onnx")
    return 0


def untold(args: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread passes the error of a full disk on to its caller, who says it in a sentence."""
    told = isinstance(args.exc_value, OSError) and type(args.thread).__module__.startswith("tensorboard.")
    if not told:
        threading.__excepthook__(args)


def require_extra(names: Sequence[str] = TRAINING) -> None:
    """Raises DtdaError with the install line when something of the training extra is missing."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise DtdaError(f"this command needs {name}, which is not installed; run: pip install 'dtda-demo[train]'.")


def require_file(path: Path, way_out: str) -> None:
    """Raises DtdaError when there is no such file."""
    if not path.is_file():
        raise DtdaError(f"{path}: no such file; {way_out}.")
