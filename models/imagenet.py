"""ImageNet weights of 2D networks: torchvision's files, fetched once, read from disk afterwards.

torch keeps them in `$TORCH_HOME/hub/checkpoints`, `~/.cache/torch/hub/checkpoints` by default.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.weights import as_state_dict
from models.weights_file import read_weights_file


@dataclass(frozen=True)
class ImageNetFile:
    """The file of a network's ImageNet weights.

    Attributes:
        arch: Name of the network in torchvision.
        url: Address that it comes from.
        path: Path that torch keeps it at; it may not be there yet.
    """

    arch: str
    url: str
    path: Path

    @classmethod
    def of(cls, arch: str) -> "ImageNetFile":
        """Name the file of torchvision's IMAGENET1K_V1 weights.

        Args:
            arch: Name of the network, for instance "resnet50" (`pretrained_arch`).

        Raises:
            ValueError: torchvision lacks the network.
        """
        import torchvision.models  # seconds of import, needed here only

        if arch not in torchvision.models.list_models(module=torchvision.models):
            raise ValueError(
                f"init_from=imagenet does not fit: torchvision has no {arch}, whose weights come "
                f"from timm; run torch.save(timm.create_model({arch!r}, pretrained=True)"
                ".state_dict(), FILE) and give FILE as init_from"
            )
        url = str(torchvision.models.get_model_weights(arch)["IMAGENET1K_V1"].url)
        return cls(arch, url, Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name)

    def fetch(self) -> None:
        """Download the file, verified by the digest in its name, unless it is there.

        Raises:
            ValueError: It cannot be had.
        """
        if self.path.is_file():
            return
        digest = re.search(r"-([0-9a-f]{8,})\.", self.path.name)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(self.url, str(self.path), digest and digest[1])
        except (OSError, RuntimeError) as error:  # no network, no room, or a damaged download
            raise ValueError(
                f"init_from=imagenet needs {self.path.name} ({self.arch}), which is not in "
                f"{self.path.parent} and could not be fetched from {self.url} ({error}); put it "
                "there, by `kinetoscope prepare` with the words of this command on a machine with "
                "internet and the same TORCH_HOME, or give a file of it as --model.init_from FILE"
            ) from error


def imagenet_state_dict(arch: str) -> dict[str, Tensor]:
    """Get torchvision's IMAGENET1K_V1 weights of a network, downloaded or from disk.

    Args:
        arch: Name of the network, for instance "resnet50" (`pretrained_arch`).

    Returns:
        Name to tensor, on the CPU.

    Raises:
        ValueError: torchvision lacks the network, or the weights cannot be had or are damaged.
    """
    file = ImageNetFile.of(arch)
    file.fetch()
    return as_state_dict(read_weights_file(file.path), file.path)
