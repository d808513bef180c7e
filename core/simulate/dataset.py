"""`dtda simulate`: a labelled multi-domain data set from a folder of face photos.

Layout: `<domain>/<split>/<photo>_<shot>.jpg`, the camera's own JPEG or a frame of its video, `manifest.csv` with one row
per picture, and `.rows`, the rows of finished photos, from which a killed run goes on. Identities are disjoint between
splits; a held-out domain has test identities only. Every picture has its own random stream derived from (seed, photo,
domain, shot), so the set does not depend on the number of processes nor on where the photos lie. With other photos beside it
a picture shows the same scene, but where H.264 is involved not to the bit: the pictures of a chunk are coded together.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dtda.core.data.crew import mapped
from dtda.core.data.manifest import POINTS, SPLITS
from dtda.core.errors import DtdaError
from dtda.core.memory import keep_memory
from dtda.core.sidecar import write_atomic
from dtda.core.simulate import clip
from dtda.core.simulate.capture import Capture, Setting, attack, bona_fide, draw_setting, files
from dtda.core.simulate.config import Domain, SimulateConfig
from dtda.core.simulate.ingredients import reduced
from dtda.core.simulate.portrait import Detect, Entry, Portrait, list_portraits, load_portrait
from dtda.core.simulate.presentation import Presentation, draw_presentation
from dtda.core.simulate.sources import Source, draw_sources

CHUNK = 4  # photos rendered together
COLUMNS = ["path", "label", "attack_type", "domain", "subject", "split", "x1", "y1", "x2", "y2", *POINTS]


def split_of(subject: str, shares: tuple[float, float]) -> str:
    """Split of an identity, from a hash of its name: stable when portraits are added."""
    place = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8], "big") / 2**64
    return SPLITS[0] if place < shares[0] else SPLITS[1] if place < sum(shares) else SPLITS[2]


@dataclass(frozen=True, slots=True)
class Report:
    """written: pictures in the set. skipped: one sentence per portrait that could not be used."""

    written: int
    skipped: tuple[str, ...]


def simulate(
    faces: Path,
    out: Path,
    config: SimulateConfig,
    detector: Callable[[], Detect],
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Render the set. detector: called once in every process to make the face detector (only needed without faces.csv).

    workers: processes, 0 renders in this one. progress: called with the number of portraits done after each chunk. Raises
    DtdaError when the folder has no usable portrait or `out` holds another set.
    """
    entries = list_portraits(faces)
    if config.portraits is not None:  # spread over the folder, not its first files
        entries = [
            entries[i] for i in np.linspace(0, len(entries) - 1, min(config.portraits, len(entries))).astype(int)
        ]
    wanted = config.people or SPLITS
    entries = [entry for entry in entries if split_of(entry.subject, config.split) in wanted]
    if not entries:
        raise DtdaError(f"{faces}: nobody there is of the split {' or '.join(wanted)}; leave --people out for all.")
    names = [_name(entry, faces) for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise DtdaError(f"{faces}: two photos would share the name {twice}; rename one of them.")
    _claim(out, config, [f"{name} {entry.subject}" for name, entry in zip(names, entries, strict=True)])
    chunks = [entries[start : start + CHUNK] for start in range(0, len(entries), CHUNK)]
    work = partial(_render, faces=faces, out=out, config=reduced(config), detector=detector)
    rows: list[dict[str, object]] = []
    skipped: list[str] = []
    for found, problems in mapped(work, chunks, workers):
        rows += found
        skipped += problems
        if progress:
            progress(CHUNK)
    if not rows:
        raise DtdaError(f"{faces}: none of its {len(entries)} pictures could be used; the first: {skipped[0]}")
    text = io.StringIO()
    columns = [*COLUMNS, "video"] if config.clip else COLUMNS
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: str(row["path"])))
    write_atomic(out / "manifest.csv", text.getvalue().encode())
    return Report(len(rows), tuple(skipped))


@dataclass(frozen=True, slots=True)
class Speed:
    """seconds: wall clock, start of the processes included. processor_ms: of all processes, a picture. crop: median side of
    the crop of 2.7 face widths, pixels."""

    pictures: int
    seconds: float
    processor_ms: float
    crop: float

    @property
    def rate(self) -> float:
        return self.pictures / self.seconds


def bench(faces: Path, config: SimulateConfig, detector: Callable[[], Detect], workers: int) -> Speed:
    """Render a set into a temporary folder and throw it away. Raises what `simulate` raises."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        begun, used = time.perf_counter(), _processor_s()
        report = simulate(faces, out, config, detector, workers)
        seconds, spent = time.perf_counter() - begun, _processor_s() - used
        with (out / "manifest.csv").open(newline="") as file:
            crops = [2.7 * (float(row["x2"]) - float(row["x1"])) for row in csv.DictReader(file)]
    return Speed(report.written, seconds, 1000 * spent / report.written, float(np.median(crops)))


def _processor_s() -> float:
    """Of this process and of those that it has waited for, ffmpeg among them."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _name(entry: Entry, faces: Path) -> str:
    """Name of a photo in the set: its path below the folder, flattened, suffix included."""
    return "_".join(entry.path.relative_to(faces).parts)


def _claim(out: Path, config: SimulateConfig, photos: Sequence[str]) -> None:
    """One folder holds one configuration of one set of photos; going on with another would mix two data sets."""
    stamp = out / "simulate.json"
    digest = hashlib.sha256("\n".join(photos).encode()).hexdigest()
    text = json.dumps({"photos": digest, "config": config.model_dump(mode="json")}, indent=2) + "\n"
    if stamp.is_file():
        if stamp.read_text("utf-8") != text:
            raise DtdaError(f"{out}: holds a data set of another configuration or other photos; name an empty folder.")
    elif out.is_dir() and any(out.iterdir()):
        raise DtdaError(f"{out}: is not empty and holds no simulated set; name an empty folder.")
    write_atomic(stamp, text.encode())


Rendered = tuple[list[dict[str, object]], list[str]]


def _render(
    chunk: Sequence[Entry], faces: Path, out: Path, config: SimulateConfig, detector: Callable[[], Detect]
) -> Rendered:
    """All pictures of some photos: their rows, and the sentences on why others have none.

    Photos are rendered by the chunk because H.264 codes many pictures at once; it is whole or not there at all.
    """
    keep_memory()
    done = out / ".rows" / f"{_name(chunk[0], faces)}.json"
    if done.is_file():
        found = json.loads(done.read_text("utf-8"))
        return found["rows"], found["skipped"]
    problems: list[str] = []
    people: list[Portrait] = []
    names: list[str] = []
    for entry in chunk:
        try:
            people.append(load_portrait(entry, detector() if entry.box is None else _no_detector))
            names.append(_name(entry, faces))
        except DtdaError as error:
            problems.append(str(error))
    sources = draw_sources(people, config, [_stream(f"{config.seed}/{name}/sources") for name in names])
    jobs = [
        Job(person, tuple(held), name, domain, kind, shot, split)
        for person, held, name in zip(people, sources, names, strict=True)
        for split in [split_of(person.subject, config.split)]
        for domain in config.domains
        if split == "test" or not domain.held_out
        for kind, count in (("live", config.live), ("attack", config.attack))
        for shot in range(count)
    ]
    rows = []
    if config.clip:
        for job in jobs:
            for number, (one, data) in enumerate(_filmed(job, config)):
                rows.append(_kept(out, f"{job.stem}_f{number:03d}.jpg", data, one, job) | {"video": job.stem})
    else:
        taken = [_shot(job, config) for job in jobs]
        for job, one, data in zip(jobs, taken, files(taken), strict=True):
            rows.append(_kept(out, f"{job.stem}.jpg", data, one, job))
    write_atomic(done, json.dumps({"rows": rows, "skipped": problems}).encode())
    return rows, problems


@dataclass(frozen=True)
class Job:
    """One picture to take. name: of the photo in the set. kind: live or attack."""

    portrait: Portrait
    sources: tuple[Source, ...]
    name: str
    domain: Domain
    kind: str
    shot: int
    split: str

    @property
    def stem(self) -> str:
        return f"{self.domain.name}/{self.split}/{self.name}_{self.kind}{self.shot}"


def _stream(name: str) -> np.random.Generator:
    """Random numbers that follow from a name."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))


def _no_detector(_: object) -> list:  # type: ignore[type-arg]
    raise AssertionError("boxes are known")


def _shot(job: Job, config: SimulateConfig) -> Capture:
    """One picture; everything random in it follows from the name of its stream."""
    setting, shown, rng = _scene(job, config)
    return bona_fide(job.portrait, setting, rng) if shown is None else attack(job.portrait, shown, setting, rng)


def _filmed(job: Job, config: SimulateConfig) -> list[tuple[Capture, bytes]]:
    """Frames of one clip, each with its file."""
    setting, shown, rng = _scene(job, config)
    return clip.captures(clip.draw_clip(job.portrait, setting, shown, rng), config.clip)


def _scene(job: Job, config: SimulateConfig) -> tuple[Setting, Presentation | None, np.random.Generator]:
    rng = _stream(f"{config.seed}/{job.name}/{job.domain.name}/{job.kind}/{job.shot}")
    setting = draw_setting(job.portrait, job.domain, config.face, rng, config.context)
    if job.kind == "live":
        return setting, None, rng
    instrument = job.domain.instruments[int(rng.integers(len(job.domain.instruments)))]
    return setting, draw_presentation(job.portrait, job.sources, instrument, setting.light, rng), rng


def _kept(out: Path, path: str, data: bytes, taken: Capture, job: Job) -> dict[str, object]:
    """Write a picture; its row."""
    write_atomic(out / path, data)
    numbers = [f"{value:.1f}" for value in (*taken.box, *taken.points.ravel())]
    return {
        "path": path,
        "label": "live" if taken.kind == "live" else "spoof",
        "attack_type": taken.instrument,
        "domain": job.domain.name,
        "subject": job.portrait.subject,
        "split": job.split,
    } | dict(zip(COLUMNS[6:], numbers, strict=True))
