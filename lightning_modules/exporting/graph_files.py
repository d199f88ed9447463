"""Files of graphs, ONNX and torch.export's; each is checked before it gets its name."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.atomic import path_beside
from datamodules.errors import UserError
from lightning_modules.base import VideoClassifier
from lightning_modules.exporting.checking import Run, check_graph
from lightning_modules.exporting.description import describe
from lightning_modules.exporting.graphs import AXES, Graph, capture, pixel_network

KEY = "kinetoscope"
"""Name of the description in a file's metadata."""


@dataclass(frozen=True)
class Exported:
    """Facts of a file that was written.

    Attributes:
        error: Largest difference of a logit from the network's, on real clips.
        folded: Normalizations that went into convolutions.
        free: Names of the axes that may have any size.
    """

    error: float
    folded: int
    free: tuple[str, ...]


def write_onnx(module: VideoClassifier, views: tuple[Tensor, ...], path: Path) -> Exported:
    """Write an ONNX file, checked by onnxruntime.

    Args:
        module: The trained module, on the CPU.
        views: Real clips, as `read_clips` gives them.
        path: The file.

    Raises:
        UserError: If a package is missing or the logits differ from the network's.
        OSError: If it cannot be written.
    """
    onnx, onnxruntime = _needed()
    views = _at_least_two(views)
    graph = capture(module, views)
    made = torch.onnx.export(
        graph.program,
        (),
        dynamo=True,
        verbose=False,
        input_names=list(graph.modalities),
        output_names=["logits"],
    )
    assert made is not None
    model = made.model_proto
    onnx.helper.set_model_props(model, {KEY: json.dumps(describe(module))})
    _name_axes(model, graph.free)

    with path_beside(path, lone=True) as part:
        onnx.save(model, part)
        session = onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])

        def run(case: tuple[Tensor, ...]) -> Tensor:
            given = {name: view.numpy() for name, view in zip(graph.modalities, case, strict=True)}
            return torch.from_numpy(session.run(["logits"], given)[0])

        return _checked(module, graph, run, views)


def write_program(module: VideoClassifier, views: tuple[Tensor, ...], path: Path) -> Exported:
    """Write a file of `torch.export`, checked as it is read again; see `write_onnx`."""
    views = _at_least_two(views)
    graph = capture(module, views)
    with path_beside(path, lone=True) as part:
        with part.open("wb") as file:
            about = {KEY: json.dumps(describe(module))}
            torch.export.save(graph.program, file, extra_files=about)
        with part.open("rb") as file:
            read = torch.export.load(file).module()
        return _checked(module, graph, lambda case: read(*case), views)


def _checked(
    module: VideoClassifier, graph: Graph, run: Run, views: tuple[Tensor, ...]
) -> Exported:
    error = check_graph(pixel_network(module), run, views, any_length=2 in graph.free)
    return Exported(error, graph.folded, tuple(AXES[axis] for axis in graph.free))


def _at_least_two(views: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Repeat a lone clip: a batch of one is captured as one for ever."""
    return views if len(views[0]) > 1 else tuple(torch.cat([view, view]) for view in views)


def _needed() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  used by torch
    except ImportError as error:
        raise UserError(
            f"ONNX needs the package {error.name}, which is not installed; run "
            "`uv sync --extra export`, or `pip install 'kinetoscope[export]'`"
        ) from error
    return onnx, onnxruntime


def _name_axes(model: Any, free: Sequence[int]) -> None:
    """Give the free axes of inputs and output their names, instead of the compiler's."""
    names = {}
    for value in model.graph.input:
        for axis in free:
            names[value.type.tensor_type.shape.dim[axis].dim_param] = AXES[axis]
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_param = names[dim.dim_param]
    del model.graph.value_info[:]  # sizes in between, in the compiler's names
