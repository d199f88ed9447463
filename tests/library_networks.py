"""Small networks of other libraries, and clips for them."""

from typing import Any

from torch import Tensor

from models import VideoNetwork, get_model
from models.adapters.library_network import LibraryNetwork

FRAMES, SIZE, CLASSES = 4, 32, 5
"""Of the clips, and of what the networks tell apart."""
TOKENS: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL: dict[str, Any] = {**TOKENS, "intermediate_size": 32, "image_size": 32, "num_frames": 4}
TUBELETS: dict[str, Any] = {**SMALL, "tubelet_size": [2, 16, 16]}
VJEPA2: dict[str, Any] = {**TOKENS, "hidden_size": 32, "crop_size": 32, "frames_per_clip": 4}
VJEPA2 |= {"mlp_ratio": 2.0, "num_pooler_layers": 1}
VJEPA2 |= {"pred_hidden_size": 12, "pred_num_hidden_layers": 1}
VIT: dict[str, Any] = {"img_size": 32, "depth": 1}
NETWORKS: dict[str, dict[str, Any]] = {
    "torchvision:mc3_18": {},
    "torchvision:swin3d_t": {"dropout": 0.1},
    "timm:resnet10t.c3_in1k": {"dropout": 0.1},
    "timm:mobilenetv3_small_050": {},
    "timm:vit_tiny_patch16_224": VIT,
    "transformers:videomae": SMALL,
    "transformers:timesformer": SMALL,
    "transformers:vivit": TUBELETS,
    "transformers:vjepa2": VJEPA2,
}
"""Small networks, and options that make them smaller."""
VIDEOMAE = ("transformers:videomae", SMALL)


def build(name: str, num_classes: int = CLASSES, **options: Any) -> LibraryNetwork:
    """A network of another library."""
    network = get_model(name, num_classes, **options)
    assert isinstance(network, LibraryNetwork)
    return network


def clips(network: VideoNetwork, batch: int = 2) -> Tensor:
    """Clips that fit the network."""
    return network.example_inputs(batch, FRAMES, SIZE)[0]
