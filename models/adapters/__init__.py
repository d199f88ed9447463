"""Networks of other libraries, by `LIBRARY:NAME`: `torchvision:r3d_18`, `timm:resnet18`."""

import importlib
from collections.abc import Mapping
from typing import Any

from models.adapters.library_network import LibraryNetwork, near, refuse_weights
from models.norm import replace_batch_norms

__all__ = ["LIBRARIES", "build_library_network", "is_library_name"]

LIBRARIES: Mapping[str, str] = {
    "torchvision": "models.adapters.torchvision_video:build",
    "timm": "models.adapters.timm_frames:build",
    "transformers": "models.adapters.transformers_video:build",
}
"""Library to "module:builder"; the builder takes the inner name, num_classes and options."""


def is_library_name(name: str) -> bool:
    """Return True for a name of the form `LIBRARY:NAME`; no other network's has a colon."""
    return ":" in name


def build_library_network(
    name: str, num_classes: int, options: Mapping[str, Any]
) -> LibraryNetwork:
    """Build a network of another library with newly initialised weights.

    Args:
        name: `LIBRARY:NAME`, split at the first colon.
        num_classes: Width of the logits.
        options: Arguments of the library's network, by its own names.

    Raises:
        ValueError: The library is unknown or not installed, or it has no such network or option.
    """
    library, _, inner = name.partition(":")
    if library not in LIBRARIES:
        raise ValueError(
            f"there is no library {library!r} for the network {name!r}; "
            f"{near(library, LIBRARIES) or 'the libraries are ' + ', '.join(LIBRARIES)}"
        )
    refuse_weights(name, options)
    module, _, builder = LIBRARIES[library].partition(":")
    build = getattr(importlib.import_module(module), builder)
    network: LibraryNetwork = build(inner, num_classes, options)
    replace_batch_norms(network)
    return network
