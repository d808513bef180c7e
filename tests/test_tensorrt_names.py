"""Every name of TensorRT that is used exists in 10.16, in 11.4 and in TensorRT-RTX, as recorded from the real modules.

The code names a TensorRT object after its class (CONVENTION). What would slip through unseen is refused as well: an
object under another name, and a method of TensorRT called on something that is not named as one.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_tensorrt import fake_tensorrt
from fakes import Gpu

ROOT = Path(__file__).parent.parent
LIST = Path(__file__).parent / "data" / "tensorrt_names.txt"
RECORDED = {
    name: set(versions)
    for name, versions in (line.split() for line in LIST.read_text().splitlines() if not line.startswith("#"))
}
EVERYWHERE = {name for name, versions in RECORDED.items() if versions == {"A", "B", "R"}}
# Used only where nvidia.is_rtx() says so.
RTX_ONLY = {
    "ComputeCapability",
    "CudaGraphStrategy",
    "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "IRuntimeConfig.cuda_graph_strategy",
}
CONVENTION = {
    "builder": "Builder",
    "cache": "ITimingCache",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "layer": "ILayer",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "plan": "IHostMemory",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "runtime_config": "IRuntimeConfig",
    "tensor": "ITensor",
}
# method -> class of what it returns
MAKERS = {
    "build_serialized_network": "IHostMemory",
    "create_builder_config": "IBuilderConfig",
    "create_execution_context": "IExecutionContext",
    "create_network": "INetworkDefinition",
    "create_optimization_profile": "IOptimizationProfile",
    "create_runtime_config": "IRuntimeConfig",
    "create_timing_cache": "ITimingCache",
    "deserialize_cuda_engine": "ICudaEngine",
    "get_error": "ParserError",
    "get_input": "ITensor",
    "get_layer": "ILayer",
    "get_output": "ITensor",
    "get_timing_cache": "ITimingCache",
    "serialize": "IHostMemory",
}
# Names of other objects whose methods are called like some of TensorRT's.
OTHERS = {"progress", "self", "session"}
# Members with an underscore are TensorRT's own wherever they stand; `name` or `shape` may be anyone's.
TELLING = {member for name in RECORDED for _, _, member in [name.partition(".")] if "_" in member}


def modules() -> list[Path]:
    """Those that touch TensorRT's module."""
    found = [path for path in sorted((ROOT / "engines").glob("*.py")) if _uses_module(ast.parse(path.read_text()))]
    assert {"builder.py", "session.py", "survey.py"} <= {path.name for path in found}
    return found


def _uses_module(tree: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Attribute) and _is_module(node.value) and not node.attr.startswith("__")
        for node in ast.walk(tree)
    )


def _is_module(node: ast.AST) -> bool:
    return _base(node) == "trt"


def _base(node: ast.AST) -> str:
    """`x` for x, self.x and self._x."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        return node.attr.lstrip("_")
    return ""


def _made(node: ast.AST) -> str:
    """The TensorRT class a call makes, "" when it makes none."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return ""
    if _is_module(node.func.value) and f"{node.func.attr}" in RECORDED:
        return node.func.attr if node.func.attr in CONVENTION.values() else ""
    return MAKERS.get(node.func.attr, "") if _base(node.func.value) in CONVENTION else ""


def used(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Names of TensorRT, "Class.member" or "Class", with their line."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr.startswith("__"):
            continue
        inner = node.value
        if _is_module(inner):
            yield node.attr, node.lineno
        elif isinstance(inner, ast.Attribute) and _is_module(inner.value):
            yield f"{inner.attr}.{node.attr}", node.lineno
        elif _made(inner):
            yield f"{_made(inner)}.{node.attr}", node.lineno
        elif _base(inner) in CONVENTION:
            yield f"{CONVENTION[_base(inner)]}.{node.attr}", node.lineno


def hidden(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """What the convention does not reach."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _made(node.value):
            for target in node.targets:
                if CONVENTION.get(_base(target)) != _made(node.value):
                    yield f"{ast.unparse(target)} holds a {_made(node.value)}", node.lineno
        if isinstance(node, ast.Attribute) and node.attr in TELLING:
            known = _is_module(node.value) or _base(node.value) in CONVENTION.keys() | OTHERS or _made(node.value)
            enumeration = isinstance(node.value, ast.Attribute) and _is_module(node.value.value)
            if not known and not enumeration and _base(node) not in CONVENTION:
                yield f"{ast.unparse(node)} is a method of TensorRT on something else", node.lineno


# Names that a module uses for things of its own: `plan` is also our module, and tensors have records of ours.
OWN = {
    "builder.py": set(),
    "session.py": {"plan", "tensor"},
    "survey.py": set(),
}


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.name)
def test_every_name_exists_in_all_versions(path: Path) -> None:
    own = {f"{CONVENTION[name]}." for name in OWN.get(path.name, {"plan", "tensor", "builder", "cache", "parser"})}
    missing = [
        f"{path.name}:{line} {name}"
        for name, line in used(ast.parse(path.read_text()))
        if name not in EVERYWHERE | RTX_ONLY and not name.startswith(tuple(own or {"?"}))
    ]
    assert not missing


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.name)
def test_every_object_is_named_after_its_class(path: Path) -> None:
    assert not [f"{path.name}:{line} {what}" for what, line in hidden(ast.parse(path.read_text()))]


def test_the_collection_finds_what_matters() -> None:
    """Else the tests above could pass by finding nothing."""
    names = {name for path in modules() for name, _ in used(ast.parse(path.read_text()))}
    assert names >= {
        "Builder.build_serialized_network",
        "Builder.create_network",
        "IBuilderConfig.progress_monitor",
        "ICudaEngine.create_execution_context",
        "ICudaEngine.get_tensor_dtype",
        "IExecutionContext.execute_async_v3",
        "IExecutionContext.infer_shapes",
        "IExecutionContext.set_input_shape",
        "IExecutionContext.set_tensor_address",
        "IRuntimeConfig.cuda_graph_strategy",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "OnnxParser.parse",
        "Runtime.deserialize_cuda_engine",
        "TensorIOMode.INPUT",
    }


def test_what_is_for_rtx_alone_is_there_and_only_there() -> None:
    assert all(RECORDED[name] == {"R"} for name in RTX_ONLY)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("flag = trt.BuilderFlag.FP16", "BuilderFlag.FP16"),
        ("network = builder.create_network(1); builder.max_batch_size = 1", "Builder.max_batch_size"),
        ("self._context.execute_async_v2(1)", "IExecutionContext.execute_async_v2"),
        ("trt.Logger2", "Logger2"),
        ("config.get_timing_cache().save()", "ITimingCache.save"),
    ],
)
def test_a_removed_or_misspelt_name_is_seen(code: str, problem: str) -> None:
    assert problem in [name for name, _ in used(ast.parse(code)) if name not in EVERYWHERE | RTX_ONLY]


@pytest.mark.parametrize(
    "code", ["thing = trt.Runtime(logger)", "ctx.execute_async_v3(1)", "b = runtime.deserialize_cuda_engine(x)"]
)
def test_a_hidden_object_is_seen(code: str) -> None:
    assert list(hidden(ast.parse(code)))


@pytest.mark.skipif(sys.platform == "darwin", reason="TensorRT-RTX has no wheels for macOS")
def test_the_list_of_tensorrt_rtx_is_that_of_the_installed_one() -> None:
    trt = importlib.import_module("tensorrt_rtx")
    for name, versions in RECORDED.items():
        owner, _, member = name.partition(".")
        there = hasattr(getattr(trt, owner, None), member) if member else hasattr(trt, owner)
        assert there or "R" not in versions, name


def test_the_list_tells_the_versions_apart() -> None:
    assert RECORDED["BuilderFlag.FP16"] == {"A"}
    assert RECORDED["IExecutionContext.execute_async_v3"] == {"A", "B", "R"}
    assert "IExecutionContext.execute_async_v2" not in RECORDED
    assert len(EVERYWHERE) > 1500


@pytest.mark.parametrize("rtx", [False, True])
def test_the_fake_has_nothing_that_the_real_ones_lack(rtx: bool) -> None:
    """Else host code could pass on the fake alone."""
    trt = fake_tensorrt(Gpu(), rtx)
    kinds = {name: thing for name, thing in vars(trt).items() if isinstance(thing, type)}
    assert {"Runtime", "ICudaEngine", "IExecutionContext", "ILogger"} <= set(kinds)
    allowed = {name for name, versions in RECORDED.items() if versions >= ({"R"} if rtx else {"A", "B"})}
    for name, kind in kinds.items():
        members = {member for member in dir(kind) if not member.startswith("_") and not hasattr(int, member)}
        assert name in allowed
        assert not {f"{name}.{member}" for member in members} - allowed
