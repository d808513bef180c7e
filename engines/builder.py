"""From an ONNX graph to a plan: TensorRT's parser and builder, with every return value looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from dtda.core.errors import DtdaError
from dtda.engines import nvidia
from dtda.engines.plan import Tensor
from dtda.engines.progress import Stop

Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]

# What TensorRT 11.2 says to a grouped convolution in FP16 (NVIDIA/TensorRT#4838); other versions have a kernel for it.
NO_KERNEL = "No low-precision conv kernel available"


class NoKernel(DtdaError):
    """This TensorRT has no kernel for a convolution in FP16; with the grouped ones in FP32 it may build."""


@dataclass(frozen=True, slots=True)
class Built:
    """plan: what TensorRT wrote. tensors: inputs and outputs as it sees them. typed: layers by kind of result, such as
    {"HALF": 131}. level: its optimisation level. timing_cache: to keep for the next build, None where there is none."""

    plan: bytes
    tensors: list[Tensor]
    typed: dict[str, int]
    level: int
    timing_cache: bytes | None


def build(
    trt: ModuleType,
    graph: bytes,
    shapes: Profile,
    *,
    targets: list[str],
    workspace_mb: int,
    timing_cache: bytes | None,
    monitor: Any,
    stop: Stop,
) -> Built:
    """Parse and build. The precision is that of the graph; TF32 is off, so FP32 is FP32.

    graph: a serialised ONNX model. shapes: min, opt and max shape of each input that is dynamic. targets: compute
    capabilities, for TensorRT-RTX only. timing_cache: of a build before, b"" for a new one, None for no cache.
    Raises Stopped when `stop` is set meanwhile, NoKernel, DtdaError.
    """
    mark = nvidia.mark()
    logger = nvidia.logger(trt)
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # a null pointer in the binding: no CUDA
        raise nvidia.failure(
            "TensorRT's builder does not start", "`dtda engine check` tells what is missing", mark
        ) from error
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        reasons = "; ".join(parser.get_error(number).desc() for number in range(parser.num_errors)) or "no reason given"
        raise DtdaError(
            f"TensorRT cannot read the graph ({_short(reasons)}); export the student again with `dtda export`."
        )
    stop.check()
    config = builder.create_builder_config()
    _target(trt, config, targets)
    config.clear_flag(trt.BuilderFlag.TF32)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb << 20)
    _set_profile(builder, config, network, shapes)
    cache = _set_timing_cache(config, timing_cache)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    stop.check()
    if plan is None:
        if any(NO_KERNEL in line for line in nvidia.recent("error", mark)):
            raise NoKernel("this TensorRT has no kernel for the grouped convolutions in FP16; use fp32.")
        raise nvidia.failure("TensorRT could not build the engine", _way_out(mark), mark)
    return Built(
        bytes(plan),
        _tensors(trt, network),
        _typed(network),
        int(config.builder_optimization_level),
        None if cache is None else bytes(config.get_timing_cache().serialize()),
    )


def _way_out(mark: nvidia.Mark) -> str:
    said = " ".join(nvidia.recent("error", mark)).lower()
    if "turing" in said or "sm75" in said:
        return "cards of compute capability 7.5 lack what this graph needs, so name others with --target or use fp16"
    if "memory" in said:
        return "close what else uses the GPU, or allow more with --workspace-mb"
    return "try --precision fp32, and report it if that fails too"


def _target(trt: ModuleType, config: Any, targets: list[str]) -> None:
    if not nvidia.is_rtx(trt):
        return  # TensorRT proper builds for the GPU it builds on
    config.num_compute_capabilities = len(targets)
    for number, target in enumerate(targets):
        capability = getattr(trt.ComputeCapability, f"SM{target.replace('.', '')}", None)
        if capability is None or not config.set_compute_capability(capability, number):
            raise DtdaError(
                f"TensorRT-RTX {trt.__version__} does not build for compute capability {target}; "
                f"it does for {', '.join(capabilities(trt))}."
            )


def capabilities(trt: ModuleType) -> list[str]:
    """What TensorRT-RTX builds for, as "8.9"."""
    names = [name[2:] for name in dir(trt.ComputeCapability) if name.startswith("SM")]
    return sorted((f"{name[:-1]}.{name[-1]}" for name in names), key=float)


def _set_profile(builder: Any, config: Any, network: Any, shapes: Profile) -> None:
    """Wrong bounds do not raise: they make the profile false or its index negative."""
    inputs = [network.get_input(number) for number in range(network.num_inputs)]
    dynamic = [tensor.name for tensor in inputs if -1 in tuple(tensor.shape)]
    if set(dynamic) != set(shapes):
        raise DtdaError(
            f"the dynamic inputs of the graph are {', '.join(dynamic) or 'none'}, not {', '.join(shapes)}; "
            "export the student again with `dtda export`."
        )
    if not dynamic:
        return
    profile = builder.create_optimization_profile()
    for name in dynamic:
        profile.set_shape(name, *shapes[name])
    if not profile or config.add_optimization_profile(profile) < 0:
        bounds = ", ".join(f"{name} {shapes[name]}" for name in dynamic)
        raise nvidia.failure(f"TensorRT refuses the shapes {bounds}", "choose another --max-batch")


def _set_timing_cache(config: Any, data: bytes | None) -> Any:
    """The cache that is in use, which must live as long as the build. One of another version or GPU is begun anew."""
    if data is None:
        return None
    for start in (data, b""):
        cache = config.create_timing_cache(start)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    return None


def _tensors(trt: ModuleType, network: Any) -> list[Tensor]:
    inputs = [("input", network.get_input(number)) for number in range(network.num_inputs)]
    outputs = [("output", network.get_output(number)) for number in range(network.num_outputs)]
    return [
        Tensor.model_validate(
            {
                "name": tensor.name,
                "mode": mode,
                "dtype": np.dtype(trt.nptype(tensor.dtype)).name,
                "shape": list(tensor.shape),
            }
        )
        for mode, tensor in inputs + outputs
    ]


def _typed(network: Any) -> dict[str, int]:
    """How many layers give which type: in a strongly typed network this is what will run."""
    counts: dict[str, int] = {}
    for number in range(network.num_layers):
        layer = network.get_layer(number)
        for output in range(layer.num_outputs):
            name = layer.get_output(output).dtype.name
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


def _short(text: str) -> str:
    return " ".join(text.split())[:300].rstrip(".")
