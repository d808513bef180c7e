"""The arguments that choose engine and detector, shared by the window and the commands that run the live pipeline."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dtda.core.errors import DtdaError

if TYPE_CHECKING:
    from dtda.engines.base import Detector, Engine


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine",
        metavar="FILE",
        default="auto",
        help="the student to run: an ONNX student, a TensorRT engine, or the description of another network, see "
        "docs/third-party.md, or the name of one that is shipped: student-mobile (default), student-r18",
    )
    add_runtime_options(parser)


def add_runtime_options(parser: argparse.ArgumentParser) -> None:
    """What students and detector run on."""
    parser.add_argument("--provider", choices=("auto", "cpu", "cuda"), default="auto", help="what runs the student")
    parser.add_argument(
        "--detector",
        default="auto",
        help="auto, centerface, insightface:PACK, or FILE.engine: a TensorRT engine made of one of them",
    )
    parser.add_argument(
        "--download-models",
        action="store_true",
        help="fetch the insightface pack named by --detector when it is not on disk (non-commercial research only)",
    )


def probability(text: str) -> float:
    """A number in [0, 1], for argparse."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def count(text: str) -> int:
    """A whole number from 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def check_writable(path: Path, option: str) -> None:
    """Refuse now what would fail after all the work. option: the one that named the path. Raises DtdaError."""
    if path.name in ("", "..") or path.is_dir():
        raise DtdaError(f"{path} is a folder; name a file in it.")
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise DtdaError(f"{there} cannot be written to; name another place with {option}.")


def open_parts(args: argparse.Namespace) -> tuple[Detector, Engine]:
    """Detector and engine as chosen. Raises DtdaError."""
    from dtda.engines.registry import open_engine

    engine = open_engine(args.engine, args.provider)  # first: it fails sooner than a download
    from dtda.engines.detect import open_detector

    try:
        fetch_models(args)
        return open_detector(args.detector), engine
    except BaseException:
        engine.close()
        raise


def fetch_models(args: argparse.Namespace) -> None:
    """Download the pack of --detector where --download-models asks for it, with its licence on stderr. Raises DtdaError."""
    kind, _, pack = args.detector.partition(":")
    if args.download_models and kind == "insightface":
        from dtda.engines.detect import LICENCE_NOTICE, download_pack

        sys.stderr.write(f"{LICENCE_NOTICE}\n")
        download_pack(pack)
