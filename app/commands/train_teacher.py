"""`dtda train-teacher`: pre-train a generative teacher on faces labelled with attributes."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    from dtda.core.training.gan_config import GanConfig

    parser.add_argument("faces", type=Path, metavar="FACES", help="folder of faces, with faces.csv or sub-folders")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--attributes", type=Path, metavar="FILE.csv", help="column file, and one of 0, 1 or nothing per attribute"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in that folder")
    for name, field in GanConfig.model_fields.items():
        kind = type(field.default)
        text = f"{field.description} (default: {field.default})"
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=kind.__name__.upper(), help=text)


def run(args: argparse.Namespace) -> int:
    from dtda.app.commands.simulate import detector
    from dtda.app.commands.train import require_extra
    from dtda.core.training.gan_config import GanConfig, gan_config

    given = {name: getattr(args, name) for name in GanConfig.model_fields}
    config = gan_config({name: value for name, value in given.items() if value is not None})
    require_extra()
    from dtda.core.training.teacher import train_teacher

    path = train_teacher(config, args.faces, args.attributes, args.out, args.resume, detector)
    print(f"trained: {path}; look at {args.out / 'sheet.png'}; use it as a teacher of kind stargan in `dtda train`")
    return 0
