"""ST-ResNets for tests."""

import models
from models.st_resnet import STResNet


def build(**options: object) -> STResNet:
    """A tiny ST-ResNet in evaluation mode."""
    network = models.get_model("st_resnet_tiny", 5, **options)
    assert isinstance(network, STResNet)
    return network.eval()
