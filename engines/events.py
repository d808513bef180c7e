"""What a build says while it runs: JSON lines on its stdout, one event each. Light to import: the window reads them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dtda.engines.parity import Parity


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def line(self) -> str:
        """As it is written, with its newline."""
        return self.model_dump_json() + "\n"


class Start(_Event):
    """Always the first, once the request is understood. target: compute capabilities. out: path of the engine."""

    event: Literal["start"] = "start"
    student: str
    precision: str
    package: str
    version: str
    target: list[str]
    gpu: str
    out: str


class Phase(_Event):
    """name: the innermost phase. progress: of the whole build, in [0, 1], never smaller than before. elapsed: seconds."""

    event: Literal["phase"] = "phase"
    name: str
    progress: float = Field(ge=0, le=1)
    elapsed: float = Field(ge=0)


class Log(_Event):
    """A line of TensorRT's own log."""

    event: Literal["log"] = "log"
    level: Literal["info", "warning", "error"]
    text: str


class Note(_Event):
    """What the user must know: nodes kept in FP32, targets assumed, parity not run and why."""

    event: Literal["note"] = "note"
    text: str


class Compared(_Event, Parity):
    """The engine has been compared with onnxruntime; also sent when it failed."""

    event: Literal["parity"] = "parity"


class Done(_Event):
    """The last of a build that worked. seconds: of all. runs_here: whether it can be opened now, else `why` says why not."""

    event: Literal["done"] = "done"
    path: str
    seconds: float
    bytes: int
    runs_here: bool
    why: str = ""


class Failed(_Event):
    """The last of a build that did not. text: one sentence with the way out. report: path of the parity report, if any."""

    event: Literal["failed"] = "failed"
    text: str
    report: str | None = None


class Cancelled(_Event):
    """The last of a build that was told to stop; it left nothing behind."""

    event: Literal["cancelled"] = "cancelled"


Event = Start | Phase | Log | Note | Compared | Done | Failed | Cancelled
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def parse(line: str | bytes) -> Event:
    """The event of one line. Raises ValueError for anything else."""
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError as error:
        raise ValueError(f"not an event: {line!r}") from error
