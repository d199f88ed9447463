"""A model card in Markdown, from what a checkpoint and the score files beside it say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.annotations.label_form import LabelForm
from datamodules.clips.input_spec import InputSpec
from datamodules.errors import UserError
from lightning_modules.base import VideoClassifier
from lightning_modules.console import COMMAND
from lightning_modules.dashboards.markdown import markdown_table
from lightning_modules.evaluation.protocol import digest_of_weights
from lightning_modules.evaluation.several_labels.figures import figures_of_scores
from lightning_modules.evaluation.stored_scores import StoredScores, read_scores
from lightning_modules.weights.imported import IMPORTED
from models import count_parameters

_HEAD = """\
---
library_name: kinetoscope
pipeline_tag: video-classification
tags: [video, action-recognition]
---
"""


def model_card(
    module: VideoClassifier, content: Mapping[str, Any], folder: Path, files: Sequence[str]
) -> str:
    """Write the card of a checkpoint.

    Args:
        module: The module that it describes.
        content: Its content.
        folder: Folder of its run, whose score files are looked through for tests of these weights.
        files: Names of the files that the card stands beside.

    Returns:
        Markdown, with the metadata that the Hub reads on top.
    """
    digest = digest_of_weights(module.state_dict())
    parts = [
        _HEAD,
        f"# {module.network_name}, {module.protocol['dataset'] or 'data of its own'}",
        f"{count_parameters(module.network):,} parameters, {len(module.class_names)} classes. "
        f"Weights {digest}.",
        "## Scores",
        _scores(folder, digest, module.label_form),
        "## Input",
        _table(_input(module)),
        "## Training",
        _table(_training(module, content)),
        "## Use",
        _use(files),
        "## Versions",
        _table(dict(content.get("library_versions", {}))),
        "## Classes",
        ", ".join(module.class_names),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _table(rows: Mapping[str, object]) -> str:
    return markdown_table(["", ""], [(key, _shown(value)) for key, value in rows.items()])


def _shown(value: object) -> object:
    """Show of settings those that are set."""
    if not isinstance(value, Mapping):
        return value
    pairs = {**value, **value.get("init_args", {})}.items()
    return ", ".join(
        f"{k} {v}" for k, v in pairs if k != "init_args" and v not in (None, [], False)
    )


def _input(module: VideoClassifier) -> dict[str, object]:
    spec = InputSpec.from_dict(module.input_spec)
    rows: dict[str, object] = {
        "frames": spec.sampling.describe(),
        "pixels": f"{spec.crops.crop_size} of a short side of {spec.crops.side}",
        "colours": f"RGB, mean {list(spec.normalization.mean)}, std {list(spec.normalization.std)}",
    }
    if spec.crops.aspect is not None:
        rows["aspect"] = f"forced to {spec.crops.aspect:g}"
    if spec.flow is not None:
        rows["flow"] = spec.flow
    clips, crops = module.protocol["num_clips"], module.protocol["num_crops"]
    joined = "highest probability of each class"
    if module.classes.average != "maximum":
        joined = f"{module.classes.average} averaged"
    rows["labels"] = module.label_form
    return rows | {"views": f"{clips} clip(s) x {crops} crop(s), {joined}"}


def _training(module: VideoClassifier, content: Mapping[str, Any]) -> dict[str, object]:
    origin = module.origin
    rows: dict[str, object] = {"data": module.protocol["dataset"] or "not stored"}
    if IMPORTED in content:
        facts = content[IMPORTED]
        rows["weights"] = f"imported from {facts['file']}, written by {facts['code']}"
        return rows | {"settings": "not known: they were not trained here"}
    known = {
        "run": origin.run.get("name"),
        "seed": origin.seed,
        "steps": origin.step,
        "epoch": None if origin.epoch is None else origin.epoch + 1,
        "chosen": origin.chosen,
        "augmentation": InputSpec.from_dict(module.input_spec).augmentation,
    }
    rows |= {key: value for key, value in known.items() if value is not None}
    settings = content["hyper_parameters"]
    names = ("optimization", "batch_norm", "dropout", "label_smoothing", "init_from")
    return rows | {name: settings[name] for name in names if settings.get(name)}


def _scores(folder: Path, digest: str, form: LabelForm) -> str:
    """Make a table of the tests of these weights that lie in a folder."""
    rows = []
    for path in sorted(folder.glob("scores_*.npz")):
        try:
            scores = read_scores(path)
        except UserError:  # of another version, or half written: a card tells what it knows
            continue
        if scores.protocol.get("weights") == digest:
            rows.append(_row(scores))
    if not rows:
        return f"None known: no score file of `{COMMAND} test` on these weights was found."
    columns = {"multi": ["mAP %"], "single": ["top-1 %", "top-5 %"]}
    results = columns.get(form.kind) or [f"{name} top-1 %" for name in (*form.columns, "action")]
    heads = ["tested on", "videos", "views", *results, "precision", "GMACs a view"]
    return markdown_table(heads, rows)


def _row(scores: StoredScores) -> list[str]:
    said = scores.protocol
    probe = f", probe {said['probe']}" if said.get("probe") else ""
    return [
        f"{said['dataset']} {said['split']}{probe}",
        f"{said['videos_used']} of {said['videos_listed']}",
        f"{said['num_clips']} x {said['num_crops']}, {said['size']} px",
        *_results(scores),
        said["precision"],
        f"{said['macs'] / 1e9:.3f}",
    ]


def _results(scores: StoredScores) -> list[str]:
    """Write the results of a test in percent."""
    if not scores.form.is_single:
        return [f"{100 * value:.2f}" for value in figures_of_scores(scores).values()]
    rank = (scores.scores > scores.scores[np.arange(len(scores.labels)), scores.labels, None]).sum(
        axis=1
    )
    top5 = f"{100 * np.mean(rank < 5):.2f}" if len(scores.class_names) > 5 else ""
    return [f"{100 * np.mean(rank < 1):.2f}", top5]


def _use(files: Sequence[str]) -> str:
    """Write how each file is opened."""
    lines = []
    for name in files:
        suffix = Path(name).suffix
        if suffix == ".onnx":
            lines.append(
                f"`{name}`: ONNX, uint8 pixels in, logits out; its metadata `kinetoscope` names "
                "classes, frames and crops. `docs/onnx_labels.py` of kinetoscope labels a video "
                "with it, onnxruntime, numpy and PyAV."
            )
        elif suffix == ".pt2":
            lines.append(
                f"`{name}`: `torch.export.load({name!r}).module()` takes uint8 clips "
                "(B, 3, T, H, W) and returns logits (B, K)."
            )
        else:
            lines.append(f"`{name}`:\n\n```\n{COMMAND} predict --ckpt_path {name} VIDEO...\n```")
    return "\n\n".join(lines)
