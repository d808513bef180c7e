"""`dtda simulate`: a labelled multi-domain data set from a folder of face photos.

Layout: `<domain>/<split>/<photo>_<shot>.jpg`, the camera's own JPEG, `manifest.csv` with one row per picture, and
`.rows`, the rows of finished photos, from which a killed run goes on. Identities are disjoint between splits; a held-out
domain has test identities only. Every picture has its own random stream derived from (seed, photo, domain, shot), so the
set does not depend on the number of processes nor on where the photos lie.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dtda.core.data.manifest import POINTS, SPLITS
from dtda.core.errors import DtdaError
from dtda.core.sidecar import write_atomic
from dtda.core.simulate.capture import Capture, attack, bona_fide, draw_presentation, draw_setting
from dtda.core.simulate.config import Domain, SimulateConfig
from dtda.core.simulate.portrait import Detect, Entry, Portrait, list_portraits, load_portrait

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

    workers: processes, 0 renders in this one. progress: called with 1 after every portrait. Raises DtdaError when the
    folder has no usable portrait or `out` holds another set.
    """
    entries = list_portraits(faces)
    if config.portraits is not None:  # spread over the folder, not its first files
        entries = [
            entries[i] for i in np.linspace(0, len(entries) - 1, min(config.portraits, len(entries))).astype(int)
        ]
    names = [_name(entry, faces) for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise DtdaError(f"{faces}: two photos would share the name {twice}; rename one of them.")
    _claim(out, config, [f"{name} {entry.subject}" for name, entry in zip(names, entries, strict=True)])
    work = partial(_render, faces=faces, out=out, config=config, detector=detector)
    rows: list[dict[str, object]] = []
    skipped: list[str] = []
    for found, problem in _mapped(work, entries, workers):
        rows += found
        skipped += [problem] if problem else []
        if progress:
            progress(1)
    if not rows:
        raise DtdaError(f"{faces}: none of its {len(entries)} pictures could be used; the first: {skipped[0]}")
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: str(row["path"])))
    write_atomic(out / "manifest.csv", text.getvalue().encode())
    return Report(len(rows), tuple(skipped))


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


Rendered = tuple[list[dict[str, object]], str]


def _mapped(work: Callable[[Entry], Rendered], entries: Sequence[Entry], workers: int) -> Iterator[Rendered]:
    if workers < 2:
        yield from map(work, entries)
        return
    # spawn: OpenCV and onnxruntime threads do not survive a fork
    with multiprocessing.get_context("spawn").Pool(workers, initializer=_one_thread) as pool:
        yield from pool.imap(work, entries)


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


def _render(entry: Entry, faces: Path, out: Path, config: SimulateConfig, detector: Callable[[], Detect]) -> Rendered:
    """All pictures of one photo: their rows, or the sentence on why there are none."""
    name = _name(entry, faces)
    done = out / ".rows" / f"{name}.json"
    if done.is_file():
        return json.loads(done.read_text("utf-8")), ""
    split = split_of(entry.subject, config.split)
    jobs = [
        (domain, kind, shot)
        for domain in config.domains
        if split == "test" or not domain.held_out
        for kind, count in (("live", config.live), ("attack", config.attack))
        for shot in range(count)
    ]
    try:
        portrait = load_portrait(entry, detector() if entry.box is None else _no_detector)
    except DtdaError as error:
        return [], str(error)
    rows = []
    for domain, kind, shot in jobs:
        path = Path(domain.name) / split / f"{name}_{kind}{shot}.jpg"
        taken = _shot(portrait, domain, kind, f"{config.seed}/{name}/{domain.name}/{kind}/{shot}", config)
        write_atomic(out / path, taken.jpeg)
        rows.append(_row(path, taken, domain, portrait, split))
    write_atomic(done, json.dumps(rows).encode())
    return rows, ""


def _no_detector(_: object) -> list:  # type: ignore[type-arg]
    raise AssertionError("boxes are known")


def _shot(portrait: Portrait, domain: Domain, kind: str, stream: str, config: SimulateConfig) -> Capture:
    """One picture; everything random in it follows from the name of its stream."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "big"))
    setting = draw_setting(portrait, domain, config.face, rng)
    if kind == "live":
        return bona_fide(portrait, setting, rng)
    instrument = domain.instruments[int(rng.integers(len(domain.instruments)))]
    return attack(portrait, draw_presentation(portrait, instrument, rng), setting, rng)


def _row(path: Path, taken: Capture, domain: Domain, portrait: Portrait, split: str) -> dict[str, object]:
    numbers = [f"{value:.1f}" for value in (*taken.box, *taken.points.ravel())]
    return {
        "path": path.as_posix(),
        "label": "live" if taken.kind == "live" else "spoof",
        "attack_type": taken.instrument,
        "domain": domain.name,
        "subject": portrait.subject,
        "split": split,
    } | dict(zip(COLUMNS[6:], numbers, strict=True))
