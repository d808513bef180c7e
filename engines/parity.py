"""Does an engine still say what its student says? Both score the same real face chips; a bad engine is refused."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Parity(BaseModel):
    """Engine against reference on the same chips.

    frames: how many chips. max_dp, mean_dp: of |difference of P(live)|. flips: verdicts at the student's threshold that
    differ. limit: largest max_dp that passes. reference: what the engine was compared with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    frames: int = Field(ge=1)
    max_dp: float = Field(ge=0)
    mean_dp: float = Field(ge=0)
    flips: int = Field(ge=0)
    limit: float = Field(ge=0)
    passed: bool
    reference: str
