"""Description of an exported file, in plain values: classes, input and views."""

from typing import Any

from datamodules.clips.input_spec import InputSpec
from lightning_modules.base import VideoClassifier
from lightning_modules.evaluation.protocol import digest_of_weights
from lightning_modules.runs.versions import library_versions

FORM = 2
"""Version of the description; up to 1 all labels were one class of a video."""

_BEFORE = {
    "single": "before the softmax",
    "multi": "before the sigmoid of each",
    "columns": "before a softmax over each column, which names of classes begin with",
}
"""Meaning of the logits, by kind of labels."""


def describe(module: VideoClassifier) -> dict[str, Any]:
    """Describe a network for those who have nothing of this project.

    Args:
        module: The trained module.

    Returns:
        `class_names`; `label_form`, see `LabelForm`; `inputs`, by name with type, axes and what is
        in them; `output`; the views of a video (`sampling`, `crops`, `num_clips`, `num_crops`) and
        what is made of them; where the weights come from. JSON can hold it.
    """
    spec = InputSpec.from_dict(module.input_spec)
    side, form = spec.crops.crop_size, module.label_form
    frames = f"{spec.sampling.test_len} frames of a clip, RGB, 0 to 255"
    contents = {
        "clip": {"channels": 3, "content": frames},
        "flow": {
            "channels": 0 if spec.flow is None else 2 * spec.flow.length,
            "content": f"optical flow, x and y of each field, as codes: {spec.flow}",
        },
    }
    return {
        "form": FORM,
        "network": module.network_name,
        "class_names": list(module.class_names),
        "label_form": form.as_dict(),
        "inputs": {
            name: {"dtype": "uint8", "axes": "B C T H W", "height": side, "width": side}
            | contents[name]
            for name in module.network.modalities
        },
        "output": {"logits": f"float32, B K, a value for each class, {_BEFORE[form.kind]}"},
        **module.input_spec,
        "num_clips": module.protocol["num_clips"],
        "num_crops": module.protocol["num_crops"],
        "average": module.classes.average,
        "trained_on": module.protocol["dataset"],
        "weights": digest_of_weights(module.state_dict()),
        "versions": library_versions(),
    }
