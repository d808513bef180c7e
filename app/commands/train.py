"""`dtda train`: train a student from a configuration file."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from dtda.core.errors import DtdaError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="TOML file, see docs/training.md")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes to the configuration")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (default: runs/<name>)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in that folder")


def run(args: argparse.Namespace) -> int:
    require_torch()
    from dtda.app.commands.simulate import detector
    from dtda.core.training.config import read_config
    from dtda.core.training.loop import train

    config = read_config(args.config, args.overrides)
    path = train(config, args.out or Path("runs") / config.name, args.resume, detector)
    print(f"trained: {path}; next: dtda evaluate {path} MANIFEST, dtda export {path} -o student.onnx")
    return 0


def require_torch() -> None:
    """Raises DtdaError with the install line when the training extra is missing."""
    for name in ("torch", "torchvision", "tensorboard", "onnx", "onnxscript", "sklearn"):
        if importlib.util.find_spec(name) is None:
            raise DtdaError(f"training needs {name}, which is not installed; run: pip install 'dtda-demo[train]'.")
