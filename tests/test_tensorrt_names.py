"""Every name of TensorRT that is used exists in 10.13, 10.16, 11.4 and in TensorRT-RTX, as recorded from the real modules.

The code names a TensorRT object after its class (CONVENTION). What would slip through unseen is refused as well: an
object under another name, a method of TensorRT called on something that is not named as one, and names made at run time.
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
EVERYWHERE = {name for name, versions in RECORDED.items() if versions == {"O", "A", "B", "R"}}
# Used only where nvidia.is_rtx() says so.
RTX_ONLY = {
    "ComputeCapability",
    "CudaGraphStrategy",
    "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE",
    "DynamicShapesKernelSpecializationStrategy",
    "DynamicShapesKernelSpecializationStrategy.NONE",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "IRuntimeConfig.cuda_graph_strategy",
    "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy",
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


LOOKUPS = {"getattr", "hasattr", "setattr", "vars", "attrgetter", "methodcaller"}
# Where a name of TensorRT is made at run time: the ComputeCapability of a target such as "8.9", checked against None.
ALLOWED_LOOKUP = "getattr(trt.ComputeCapability, f\"SM{target.replace('.', '')}\", None)"


def renamed(tree: ast.AST, own: set[str] = frozenset()) -> Iterator[tuple[str, int]]:  # type: ignore[assignment]
    """Objects of TensorRT under a second name, and names of TensorRT that are made at run time."""
    functions = {
        node.name: [argument.arg for argument in node.args.args if argument.arg != "self"]
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    for node in ast.walk(tree):
        for name, value in _bindings(node, functions):
            base = _base(value)
            named = (base in CONVENTION and base not in own) or base == "trt"
            if (named and name != base) or (isinstance(value, ast.Attribute) and _is_module(value.value)
                                            and value.attr in CONVENTION.values()):  # fmt: skip
                yield f"{name} is another name of {ast.unparse(value)}", node.lineno  # type: ignore[attr-defined]
        if isinstance(node, ast.Call) and _called(node) in LOOKUPS and ast.unparse(node) != ALLOWED_LOOKUP:
            inner = node.args[0] if node.args else None
            owner = inner.value if isinstance(inner, ast.Attribute) and not _base(inner) else inner
            if owner is not None and (_is_module(owner) or (_base(owner) in CONVENTION and _base(owner) not in own)):
                yield f"{ast.unparse(node)} makes a name at run time", node.lineno


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def _bindings(node: ast.AST, functions: dict[str, list[str]]) -> Iterator[tuple[str, ast.AST]]:
    """(name, what it is made to stand for) of an assignment, or of the arguments of a call of this module."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                yield from zip(map(_base, target.elts), node.value.elts, strict=True)
            else:
                yield _base(target), node.value
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        yield _base(node.target), node.value
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield _base(node.optional_vars), node.context_expr
    elif isinstance(node, ast.Call) and _called(node) in functions:
        yield from zip(functions[_called(node)], node.args, strict=False)
        yield from ((word.arg, word.value) for word in node.keywords if word.arg)


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


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.name)
def test_no_object_has_a_second_name_and_no_name_is_made_at_run_time(path: Path) -> None:
    own = OWN.get(path.name, {"plan", "tensor", "builder", "cache", "parser"})
    assert not [f"{path.name}:{line} {what}" for what, line in renamed(ast.parse(path.read_text()), own)]


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


@pytest.mark.parametrize(
    "code",
    [
        "c = config",
        "self._c = self._context",
        "a, e = b, self._engine",
        "if (e := engine): pass",
        "t = trt",
        "Config = trt.IBuilderConfig",
        "def use(thing): thing.name\nuse(config)",
        "def use(thing): thing.name\nuse(thing=config)",
        "getattr(trt, 'Gone')",
        "getattr(trt.BuilderFlag, 'FP16')",
        "hasattr(config, 'gone')",
        "setattr(self._context, 'gone', 1)",
        "getattr(trt.ComputeCapability, 'SM89')",
    ],
)
def test_a_second_name_or_a_lookup_is_seen(code: str) -> None:
    assert list(renamed(ast.parse(code)))


@pytest.mark.skipif(sys.platform == "darwin", reason="TensorRT-RTX has no wheels for macOS")
def test_the_list_of_tensorrt_rtx_is_that_of_the_installed_one() -> None:
    trt = importlib.import_module("tensorrt_rtx")
    for name, versions in RECORDED.items():
        owner, _, member = name.partition(".")
        there = hasattr(getattr(trt, owner, None), member) if member else hasattr(trt, owner)
        assert there or "R" not in versions, name


def test_the_list_tells_the_versions_apart() -> None:
    assert RECORDED["BuilderFlag.FP16"] == {"O", "A"}
    assert RECORDED["IExecutionContext.execute_async_v3"] == {"O", "A", "B", "R"}
    assert "IExecutionContext.execute_async_v2" not in RECORDED
    assert len(EVERYWHERE) > 1500


@pytest.mark.parametrize("rtx", [False, True])
def test_the_fake_has_nothing_that_the_real_ones_lack(rtx: bool) -> None:
    """Else host code could pass on the fake alone."""
    trt = fake_tensorrt(Gpu(), rtx)
    kinds = {name: thing for name, thing in vars(trt).items() if isinstance(thing, type)}
    assert {"Runtime", "ICudaEngine", "IExecutionContext", "ILogger"} <= set(kinds)
    allowed = {name for name, versions in RECORDED.items() if versions >= ({"R"} if rtx else {"O", "A", "B"})}
    for name, kind in kinds.items():
        members = {member for member in dir(kind) if not member.startswith("_") and not hasattr(int, member)}
        assert name in allowed
        assert not {f"{name}.{member}" for member in members} - allowed
