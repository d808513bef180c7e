"""TOML files of settings: how they are read, and what is wrong with one in a sentence."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtda.core.errors import DtdaError

if TYPE_CHECKING:
    from pydantic import ValidationError


def read_toml(path: Path, missing: str) -> dict[str, Any]:
    """missing: what is said of a file that is not there. Raises DtdaError."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DtdaError(f"{path}: {missing}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DtdaError(f"{path}: not valid TOML ({error}).") from error


def wrong_field(where: object, error: ValidationError, hint: str = "") -> DtdaError:
    """Names the first wrong field of what comes from `where`, a file. hint: how it would be right."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    said = first["msg"].removeprefix("Value error, ")
    return DtdaError(f"{where}: {field + ': ' if field else ''}{said}{'; ' + hint if hint else ''}.")
