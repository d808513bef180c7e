"""docs/gpu.md explains messages; here it is held to those that the code has, in both directions."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dtda.engines import parity

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "gpu.md").read_text("utf-8")
HOLE = "…"  # what differs
# Modules every message of which is on the page, and the calls that give one, with the place of their text.
MODULES = ("probe", "survey", "driver", "device", "session", "tensorrt", "builder", "job", "build", "request", "trial")
CALLS = {"DtdaError": 0, "DeviceError": 0, "NoKernel": 0, "Refused": 0, "failure": 0, "set": 0, "_note": 0, "_no": 1}
# What is no trouble, or only a part of a sentence.
LEFT_OUT = {
    "… runs on the … through …",
    "…; build it again: …",
    "dtda engine build … --precision …",
    "… is not a library for CUDA; … are.",
    "… is not installed; ….",
    "Built for …, as …; name others with --target.",
    "The … (compute capability …)",
}


def text_of(node: ast.AST | None) -> str:
    """A literal with HOLE for each value put in, "" for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else HOLE for part in node.values]
        return re.sub(f"{HOLE}+", HOLE, "".join(map(str, parts)))
    return ""


@functools.cache
def literals() -> set[str]:
    found = set()
    for path in [*(ROOT / "engines").glob("*.py"), *(ROOT / "app").rglob("*.py")]:
        found |= {text_of(node) for node in ast.walk(ast.parse(path.read_text("utf-8")))}
    return found - {""}


def sentences(module: str) -> Iterator[str]:
    """What users may read of a module: arguments of CALLS, and what plan's judgement returns."""
    tree = ast.parse((ROOT / "engines" / f"{module}.py").read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in CALLS and len(node.args) > CALLS[name]:
                yield text_of(node.args[CALLS[name]])
            if name == "Failed":
                yield from (text_of(keyword.value) for keyword in node.keywords if keyword.arg == "text")
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "what":
            yield text_of(node.value)


def refusals() -> Iterator[str]:
    """All of plan and store: what is returned or raised."""
    for module in ("plan", "store"):
        yield from sentences(module)
        for node in ast.walk(ast.parse((ROOT / "engines" / f"{module}.py").read_text("utf-8"))):
            if isinstance(node, ast.Return) and len(text_of(node.value).split()) > 4:
                yield text_of(node.value)


MESSAGES = re.findall(r"^\| `([^`]+)` \|", PAGE[PAGE.index("## What the messages mean") :], re.MULTILINE)


def explained(sentence: str) -> bool:
    """Whether a message of the page is this sentence, or its beginning up to a hole."""
    return any(re.fullmatch(pattern(message), sentence) for message in MESSAGES)


def pattern(message: str) -> str:
    """A hole on the page takes whatever stands there; the page may leave out how a sentence ends."""
    return ".*".join(re.escape(part) for part in message.split(HOLE)) + (".*" if message.endswith(HOLE) else "")


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 60
    assert len(MESSAGES) == len(set(MESSAGES))


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_on_the_page_is_one_of_the_program(message: str) -> None:
    wanted = re.compile(pattern(message))
    assert any(wanted.search(literal) for literal in literals()), message


@pytest.mark.parametrize("module", MODULES)
def test_every_message_of_the_program_is_on_the_page(module: str) -> None:
    missing = {one for one in sentences(module) if len(one.split()) > 3} - LEFT_OUT
    assert not {one for one in missing if not explained(one)}


def test_every_refusal_is_on_the_page() -> None:
    missing = {one for one in refusals() if len(one.split()) > 3} - LEFT_OUT
    assert not {one for one in missing if not explained(one)}


def test_the_limits_are_those_of_the_gate() -> None:
    limits = parity.LIMITS
    said = f"above {limits['fp32']:g} (FP32), {limits['fp16']:g} (FP16) or {limits['int8']:g} (INT8), the mean above "
    said += f"{parity.MEAN_SHARE:.0%} of that, or when more than {parity.FLIP_SHARE:.0%} of the verdicts differ"
    assert said.replace("%", " %") in " ".join(PAGE.split())
