"""Settings of a generative teacher's training; each is an option of `dtda train-teacher`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dtda.core.errors import DtdaError


class GanConfig(BaseModel):
    """Defaults are those of Choi et al. 2018 for CelebA, except for the size of the networks and the number of steps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: Annotated[Literal[32, 64, 128, 256], Field(description="side of the aligned faces, pixels")] = 64
    width: Annotated[int, Field(ge=4, le=128, description="first channels of the discriminator (official: 64)")] = 32
    generator_width: Annotated[int, Field(ge=4, le=128, description="first channels of the generator")] = 32
    blocks: Annotated[int, Field(ge=1, le=12, description="residual blocks of the generator")] = 6
    steps: Annotated[int, Field(ge=1, description="critic steps (official: 200000)")] = 20000
    batch: Annotated[int, Field(ge=2, description="faces per step")] = 16
    critic: Annotated[int, Field(ge=1, description="critic steps per generator step")] = 5
    lr: Annotated[float, Field(gt=0, description="of Adam; falls to zero in the second half")] = 1e-4
    classes: Annotated[float, Field(ge=0, description="weight of the attribute loss")] = 1.0
    reconstruction: Annotated[float, Field(ge=0, description="weight of the reconstruction loss")] = 10.0
    penalty: Annotated[float, Field(ge=0, description="weight of the gradient penalty")] = 10.0
    held_out: Annotated[float, Field(gt=0, lt=1, description="share of identities never trained on")] = 0.15
    seed: Annotated[int, Field(ge=0, description="of weights and order")] = 0
    sheet_steps: Annotated[int, Field(ge=1, description="steps between two sheets of translations")] = 500
    checkpoint_minutes: Annotated[float, Field(gt=0, description="a killed run loses at most so much")] = 2.0
    threads: Annotated[int, Field(ge=0, description="of torch, 0 = its default")] = 0
    device: Annotated[str, Field(description="auto, cpu, cuda, cuda:N")] = "auto"


RUNNING = {"threads", "device", "checkpoint_minutes"}  # may differ when a run is resumed


def gan_config(values: Mapping[str, object]) -> GanConfig:
    """Settings from the options of a command line. Raises DtdaError naming the first wrong one."""
    try:
        return GanConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise DtdaError(f"--{name} {first['input']}: {first['msg']}.") from error
