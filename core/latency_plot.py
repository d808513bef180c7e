"""Plot of latencies: milliseconds of a call and faces per second over the batch size, a line for each engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dtda.core.plots import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Line:
    """One engine. batches: sizes, ascending; p50_ms, p95_ms and faces_per_s: at each of them."""

    name: str
    batches: tuple[int, ...]
    p50_ms: tuple[float, ...]
    p95_ms: tuple[float, ...]
    faces_per_s: tuple[float, ...]


def latency_figure(title: str, lines: Sequence[Line]) -> Figure:
    """Medians with a band up to the 95th percentile on the left, throughput on the right, both axes logarithmic."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    figure.suptitle(title, fontsize=10)
    latency, throughput = figure.subplots(1, 2)
    for number, line in enumerate(lines):
        style = {"color": COLOURS[number % len(COLOURS)], "marker": "osD^v"[number // len(COLOURS) % 5]}
        latency.plot(line.batches, line.p50_ms, markersize=4, **style)
        latency.fill_between(line.batches, line.p50_ms, line.p95_ms, color=style["color"], alpha=0.15, linewidth=0)
        throughput.plot(line.batches, line.faces_per_s, markersize=4, label=line.name, **style)
    sizes = sorted({size for line in lines for size in line.batches})
    for axes, label in ((latency, "ms per call, median to 95th percentile"), (throughput, "faces per second")):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set(xlabel="faces in a call", ylabel=label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.92", linewidth=0.8)
        axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure
