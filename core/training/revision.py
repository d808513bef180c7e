"""Which code a model was made by."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any


def git_revision() -> str:
    """Revision of the checkout this code runs from, "unknown" where it is installed outside of one."""
    here = Path(__file__)
    try:
        subprocess.run(["git", "ls-files", "--error-unmatch", here.name], **_quiet(here), check=True)
        found = subprocess.run(["git", "describe", "--always", "--dirty"], **_quiet(here), check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return str(found.stdout).strip()


def _quiet(here: Path) -> dict[str, Any]:
    return {"cwd": here.parent, "capture_output": True, "text": True, "timeout": 10}
