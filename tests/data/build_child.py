"""Stands in for the build process in tests of the window: `python build_child.py MODE OUT` speaks its events.

MODE: done, elsewhere (built for a GPU that is not here), flips (parity fails), crash, mute (ends without a word),
slow (until cancelled), deaf (ignores cancel and SIGTERM), flood (a long log).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

MODE, OUT = sys.argv[1:3]
PARITY = {"event": "parity", "frames": 96, "max_dp": 0.0012, "mean_dp": 0.0002, "flips": 0, "limit": 0.02}
PARITY |= {"passed": True, "reference": "onnxruntime 1.2.3"}


def say(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def listen() -> None:
    if sys.stdin.readline().strip() in ("cancel", "") and MODE != "deaf":
        say("cancelled")
        os._exit(130)


def main() -> int:
    if MODE == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if MODE == "mute":
        sys.stderr.write("ImportError: libnvinfer.so.11\n")
        return 3
    threading.Thread(target=listen, daemon=True).start()
    say(
        "start",
        student="tiny",
        precision="fp16",
        package="tensorrt_rtx",
        version="1.7.1.116",
        target=["8.9"],
        gpu="",
        out=OUT,
    )
    began = time.perf_counter()
    for step in range(4 if MODE not in ("slow", "deaf") else 10_000):
        say("phase", name=f"Tactics {step}", progress=min(step / 4, 0.9), elapsed=time.perf_counter() - began)
        say("log", level="info", text=f"step {step}")
        time.sleep(0.02)
    say("log", level="warning", text="a weight was clipped")
    say("note", text="One convolution stays in FP32.")
    if MODE == "flood":
        for number in range(5000):
            say("log", level="info", text=f"line {number} " + "x" * 80)
    if MODE == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if MODE == "flips":
        say(**(PARITY | {"passed": False, "flips": 7, "max_dp": 0.4}))
        say("failed", text="the engine differs from its student; build it in FP32.", report=OUT + ".json")
        return 2
    if MODE == "done":
        say(**PARITY)
    why = "it cannot run here: no NVIDIA GPU" if MODE == "elsewhere" else ""
    say("done", path=OUT, seconds=1.5, bytes=3_400_000, runs_here=MODE != "elsewhere", why=why)
    return 0


if __name__ == "__main__":
    sys.exit(main())
