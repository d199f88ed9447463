"""Names of weights in other people's code, and ours for them: one map per code, and no other.

A code is known by the first parts of its names. Where a shape differs, too, the rule stands here:
an axis of size 1 that our kernels lack (theirs are 3D, ours 2D), or two axes exchanged.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from models import VideoNetwork

_Change = tuple[str, str | Callable[[re.Match[str]], str]]


@dataclass(frozen=True)
class Code:
    """Code that weights were written by.

    Attributes:
        name: The code, in words.
        starts: Beginnings of names, of which one of its weights has one; empty for ours.
        changes: Patterns and what takes their place, applied in order to each name.
        transposed: Ends of our names whose two axes are exchanged.
    """

    name: str
    starts: tuple[str, ...]
    changes: tuple[_Change, ...]
    transposed: tuple[str, ...] = ()


def _third(layer: re.Match[str]) -> str:
    """Number a layer of a sequence of (convolution, normalization, ReLU), from its triple."""
    return f"{layer[1]}{3 * int(layer[2]) + int(layer[3])}."


TSN = Code(
    "the code of TSN, TSM or SELFY",
    ("base_model.", "new_fc."),
    (
        (r"^base_model\.", ""),
        (r"\.net\.", "."),  # inside TSM's shift
        (r"^(new_fc|fc1)\.", "fc."),  # `fc1` where SELFY was trained without dropout
        (r"^selfy\.stss_transformation\.downsample\.", "selfy.reduce."),
        (r"^(selfy\.)stss_(extract)ion\.", r"\1\2."),
        (r"^(selfy\.extract\.)conv(\d)\.(\d)\.", _third),
        (r"^(selfy\.)stss_integration\.conv3_fuse\.1\.", r"\1integrate.mix.0."),
        (r"^(selfy\.)stss_integration\.conv3_fuse\.2\.", r"\1integrate.mix.1."),
        (r"^(selfy\.)stss_integration\.upsample\.0\.", r"\1upsample."),
        (r"^(selfy\.)stss_integration\.upsample\.1\.", r"\1bn."),
        (r"^(selfy\.)stss_integration\.", r"\1integrate.spatial."),
        (r"^(selfy\.integrate\.spatial\.)conv(\d)\.(\d)\.", _third),
    ),
)
"""Wang et al. (ECCV 2016), Lin et al. (ICCV 2019), Kwon et al. (ICCV 2021): one code, extended."""

MMACTION2 = Code(
    "mmaction2, or CoST's code on top of it",
    ("backbone.", "cls_head."),
    (
        (r"^backbone\.", ""),
        (r"^cls_head\.fc_cls\.", "fc."),
        (r"\bdownsample\.conv\.", "downsample.0."),
        (r"\bdownsample\.bn\.", "downsample.1."),
        (r"\bconv(\d)\.bn\.", r"bn\1."),
        (r"\bconv(\d)\.conv\.", r"conv\1."),
        (r"\.net\.", "."),  # inside TSM's shift
        (r"\.alpha$", ".logits"),
        (r"\.conv2\.fc1\.", ".conv2.channel_mixing."),
        (r"\.conv2\.fc2\.", ".conv2.view_mixing."),
    ),
    transposed=(".logits",),
)
"""Li et al. (CVPR 2019), whose release is made of mmaction2's parts."""

OWN = Code("torchvision, timm or kinetoscope", (), ())

CODES = (TSN, MMACTION2)


def code_of(names: Sequence[str]) -> Code:
    """Tell which code weights were written by, from their names, without `module.` in front."""
    for code in CODES:
        if any(name.startswith(code.starts) for name in names):
            return code
    return OWN


def without_wrapper(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take off `module.`, which DataParallel writes before every name, where all have it."""
    if all(name.startswith("module.") for name in weights):
        return {name.removeprefix("module."): weight for name, weight in weights.items()}
    return dict(weights)


def our_name(name: str, code: Code, network: VideoNetwork) -> str:
    """Translate a name of another code.

    Args:
        name: Its name there.
        code: The code.
        network: The network that is to have the weight.

    Returns:
        Our name; the given one where the network has it in several places, and so in none.
    """
    for pattern, replacement in code.changes:
        name = re.sub(pattern, replacement, name)
    places = network.expand_key(name)
    return places[0] if len(places) == 1 else name


def in_our_shape(name: str, weight: Tensor, code: Code, shape: Sequence[int]) -> Tensor:
    """Give a weight of another code our axes; no value changes.

    Args:
        name: Our name of it.
        weight: The values, in the shape of their code.
        code: The code.
        shape: The shape that our network has.

    Returns:
        The same values; in their own shape where no rule leads to ours.
    """
    if name.endswith(code.transposed) and weight.ndim == 2:
        return weight.t()
    if weight.ndim == len(shape) + 1 and weight.ndim > 2 and weight.shape[2] == 1:
        return weight.squeeze(2)  # (C', C, 1, H, W), or the (K, C, 1) of a classifier over time
    return weight
