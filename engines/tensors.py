"""The inputs and outputs of an engine: their buffers, and what may be fed to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dtda.engines.device import Memory, Pinned

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Node:
    """An input or output as onnxruntime tells of it. shape: "N" where it is dynamic."""

    name: str
    shape: list[int | str]
    type: str


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output with its buffers, made for the largest batch. shape: at that batch. batched: its first dimension
    is the batch, which varies."""

    name: str
    is_input: bool
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    batched: bool
    memory: Memory
    pinned: Pinned

    def at(self, rows: int) -> tuple[int, ...]:
        """The shape with that many rows."""
        return (rows, *self.shape[1:]) if self.batched else self.shape

    def nbytes(self, rows: int) -> int:
        return math.prod(self.at(rows)) * self.dtype.itemsize

    def view(self, rows: int) -> Array:
        """The page-locked memory as an array of that many rows."""
        return self.pinned.bytes[: self.nbytes(rows)].view(self.dtype).reshape(self.at(rows))

    def node(self) -> Node:
        shape: list[int | str] = ["N", *self.shape[1:]] if self.batched else list(self.shape)
        kind = "float" if self.dtype == np.float32 else self.dtype.name
        return Node(self.name, shape, f"tensor({kind})")


def check_feeds(inputs: Sequence[Tensor], feeds: Mapping[str, Array]) -> int:
    """The rows that are fed. Raises ValueError for other names, shapes or dtypes than the inputs'."""
    if set(feeds) != {tensor.name for tensor in inputs}:
        raise ValueError(f"the inputs are {', '.join(tensor.name for tensor in inputs)}, not {', '.join(feeds)}")
    rows = set()
    for tensor in inputs:
        array = feeds[tensor.name]
        wanted = tensor.at(len(array)) if array.ndim else ()
        if array.dtype != tensor.dtype or array.shape != wanted:
            raise ValueError(
                f"{tensor.name} must be {tensor.dtype} {tensor.node().shape}, not {array.dtype} {list(array.shape)}"
            )
        rows.add(len(array))
    if len(rows) != 1:
        raise ValueError(f"the inputs have different numbers of rows: {sorted(rows)}")
    return rows.pop()
