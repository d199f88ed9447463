"""The names of all networks, and how to build one.

A name is `<family>_<architecture>`, for instance `cost_a_r50`. Adding a family means one line in
`_FAMILIES`. A network of another library is `LIBRARY:NAME`, as `torchvision:r3d_18`.
"""

import difflib
import importlib
import inspect
from typing import Any

from models.adapters import build_library_network, is_library_name
from models.layers import VideoNetwork
from models.norm import replace_batch_norms

_EVERY = ("r18", "r34", "r50", "r101", "tiny")
_BOTTLENECK = ("r50", "r101", "tiny")

_FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "cost_a": ("models.cost:CoSTA", _BOTTLENECK),
    "cost_b": ("models.cost:CoSTB", _BOTTLENECK),
    "c2d": ("models.c2d:C2D", _EVERY),
    "c3d": ("models.c3d:C3D", _BOTTLENECK),
    "c3d_3x3x3": ("models.c3d:C3D3x3x3", _BOTTLENECK),
    "selfy_tsm": ("models.selfy:SELFYTSM", _EVERY),
    "selfy_tsn": ("models.selfy:SELFYTSN", _EVERY),
    "tsn": ("models.tsn:TSN", _EVERY),
    "tsm": ("models.tsm:TSM", _EVERY),
    "stnet": ("models.stnet:StNet", ("r50", "r101", "r152", "tiny")),
    "st_resnet": ("models.st_resnet:STResNet", ("r50", "tiny")),
    "two_stream": ("models.two_stream:TwoStream", ("r50", "tiny")),
    "rgb_stream": ("models.two_stream:RGBStream", ("r50", "tiny")),
    "flow_stream": ("models.two_stream:FlowStream", ("r50", "tiny")),
}

MODELS: dict[str, str] = {
    f"{family}_{arch}": factory for family, (factory, archs) in _FAMILIES.items() for arch in archs
} | {"stnet_irv2": "models.stnet_irv2:StNetIRv2"}
"""Name to "module:factory"; the factory takes the architecture, num_classes and options."""


def list_models() -> list[str]:
    """The names that `get_model` takes, families together, in the order of the README's table."""
    return list(MODELS)


def get_model(name: str, num_classes: int, **kwargs: Any) -> VideoNetwork:
    """Build a network with newly initialised weights.

    Args:
        name: One of `list_models()`, or `LIBRARY:NAME`, see `models.adapters`.
        num_classes: Width of the logits.
        **kwargs: Options of the family, for instance `shared=False` for CoST, or of the library's
            network, by its own names.

    Returns:
        The network, in training mode, on the current default device.

    Raises:
        ValueError: The name or an option is unknown, or an option is out of its range.
    """
    if is_library_name(name):
        return build_library_network(name, num_classes, kwargs)
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "list_models() lists them"
        raise ValueError(f"there is no network {name!r}; {hint}")
    module, _, attribute = MODELS[name].partition(":")
    factory = getattr(importlib.import_module(module), attribute)
    allowed = [
        parameter.name
        for parameter in inspect.signature(factory).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    unknown = [key for key in kwargs if key not in allowed]
    if unknown:
        raise ValueError(
            f"{name} has no option {', '.join(unknown)}; its options are {', '.join(allowed)}"
        )
    network: VideoNetwork = factory(name.rpartition("_")[2], num_classes, **kwargs)
    replace_batch_norms(network)  # of a family written with torch's layers
    return network
