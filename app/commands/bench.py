"""`dtda bench`: how long every stage of the live pipeline takes here, with tracking and without it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dtda.app import options
from dtda.core.errors import DtdaError

if TYPE_CHECKING:
    from dtda.app.sources import Source
    from dtda.core.types import Frame
    from dtda.engines.base import Detector, Engine

WARM_UP = 5  # frames that are run first and not counted
DETECT_EVERY = (5, 1)
STAGES = ("read", "detect", "track", "quality", "align", "infer", "decide", "total")

Table = dict[str, dict[str, float]]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "`dtda engine bench` compares all that can run a student instead: onnxruntime, TensorRT, torch."
    parser.add_argument("--source", default="sample", help="a video, a folder or sample (default: sample, 640x480)")
    parser.add_argument("--frames", type=options.count, default=120, metavar="N", help="frames to time (default: 120)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the figures there, too")
    options.add_options(parser)


def run(args: argparse.Namespace) -> int:
    if args.out is not None:
        options.check_writable(args.out, "--out")
    from dtda.app.sources import open_source

    detector, engine = options.open_parts(args)
    source = open_source(args.source)
    try:
        if source.live:
            raise DtdaError(f"{args.source}: a live source sets its own pace; time a file, a folder or sample.")
        clips, read = load(source, args.frames + WARM_UP)
    finally:
        source.close()
    height, width = clips[0][0].bgr.shape[:2]
    tables = {every: time_stages(detector, engine, clips, args.frames, every, read) for every in DETECT_EVERY}
    engine.close()
    detector.close()
    print(f"{engine.info.name} ({engine.info.backend}, {engine.info.provider}), {detector.name}, {width}x{height}")
    for every, table in tables.items():
        print(f"\n{'detect on every frame' if every == 1 else f'detect on every {every}th frame, track between'}")
        print(f"  {'stage':<8}{'runs':>6}{'median ms':>12}{'p95 ms':>10}")
        for stage, row in table.items():
            print(f"  {stage:<8}{row['runs']:>6.0f}{row['median_ms']:>12.2f}{row['p95_ms']:>10.2f}")
    if args.out is not None:
        from dtda.core.sidecar import write_atomic

        report = {
            "engine": asdict(engine.info),
            "detector": detector.name,
            "source": args.source,
            "frame": [width, height],
            "machine": {"platform": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
            "python": sys.version.split()[0],
            "tables": {f"detect_every_{every}": table for every, table in tables.items()},
        }
        write_atomic(args.out, (json.dumps(report, indent=2) + "\n").encode())
    return 0


def load(source: Source, count: int) -> tuple[list[list[Frame]], list[float]]:
    """Up to `count` frames of the source, clip by clip, and the milliseconds each took to read. Raises DtdaError."""
    clips: list[list[Frame]] = []
    read: list[float] = []
    for clip in range(len(source.clips)):
        source.select(clip)
        clips.append([])
        while len(read) < count:
            start = time.perf_counter()
            frame = source.read()
            if frame is None:
                break
            read.append((time.perf_counter() - start) * 1e3)
            clips[-1].append(frame)
    return [clip for clip in clips if clip], read


def time_stages(
    detector: Detector, engine: Engine, clips: Sequence[Sequence[Frame]], count: int, every: int, read: Sequence[float]
) -> Table:
    """Median and 95th percentile of each stage over `count` frames, the clips repeated as often as it takes.

    every: frames from one detection to the next. read: milliseconds of reading, measured before.
    """
    from dtda.app.pipeline import Pipeline

    pipeline = Pipeline(detector, engine, detect_every=every)
    samples: dict[str, list[float]] = {"read": list(read)}
    done = 0
    while done < count + WARM_UP:
        for clip in clips:
            pipeline.reset()
            for frame in clip[: count + WARM_UP - done]:
                start = time.perf_counter()
                stage_ms = pipeline.process(frame).stage_ms
                total = (time.perf_counter() - start) * 1e3
                done += 1
                if done > WARM_UP:
                    for stage, ms in {**stage_ms, "total": total}.items():
                        samples.setdefault(stage, []).append(ms)
    return {stage: figures(samples[stage]) for stage in STAGES if stage in samples}


def figures(samples: Sequence[float]) -> dict[str, float]:
    import numpy as np

    median, p95 = np.percentile(samples, (50, 95))
    return {"runs": len(samples), "median_ms": float(median), "p95_ms": float(p95)}
