"""What passes between the capture thread, the processing thread and the window: shots, states and notices. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dtda.core.types import Frame

Level = Literal["info", "warn", "error"]


CLIP = "clip"


def is_camera(spec: str) -> bool:
    """Whether a source is a camera, as against a file whose name begins so."""
    return spec == "camera" or spec.startswith("camera:")


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence for the message bar. topic: a newer notice on the same topic replaces the older one.

    An error on topic CLIP is about one clip of several: the others go on. rebuild: path of an engine that was refused;
    the message bar then offers to build it anew.
    """

    level: Level
    text: str
    topic: str = "source"
    rebuild: str = ""


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame on its way to the processing thread.

    take: grows with every seek, clip and source, telling the pipeline to forget its tracks. length: frames of the
    clip, if known. dropped: frames of this source replaced unread so far. shown: False for the frames before a seek
    target, which only warm up the tracks.
    """

    frame: Frame
    take: int
    live: bool
    length: int | None = None
    dropped: int = 0
    shown: bool = True


@dataclass(frozen=True, slots=True)
class PlayerState:
    """What the transport bar shows. index: last frame read, -1 before the first. fps: 0 if unknown.

    length: frames of the clip, None if unknown or live. take: see `Shot`.
    """

    spec: str = ""
    title: str = ""
    live: bool = False
    clips: tuple[str, ...] = ()
    clip: int = 0
    fps: float = 0.0
    length: int | None = None
    index: int = -1
    take: int = 0
    playing: bool = True
    speed: float = 1.0
    loop: bool = False
    dropped: int = 0
    opening: bool = False
    vanished: bool = False
    ended: bool = False

    @property
    def open(self) -> bool:
        return bool(self.title)
