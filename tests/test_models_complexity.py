"""How parameters and multiply-adds are counted; the papers' figures: test_*_commands_models.py."""

import copy

import pytest
import torch
from torch import nn

import models
from models.norm import FrameBatchNorm2d
from models.resnet import ARCHITECTURES, VideoResNet


def build_on_meta(name: str, num_classes: int, **options: object) -> models.VideoNetwork:
    with torch.device("meta"):
        return models.get_model(name, num_classes, **options)


@pytest.mark.parametrize(("arch", "gmacs"), [("r50", 24.117), ("r101", 43.077)])
def test_merged_cost_a_has_19_taps(arch: str, gmacs: float) -> None:
    """The counter sees the merged kernel's 27 taps, of which 8 corners are zero.

    A full 3x3x3 kernel in the same places has 18 taps more than C2D's, so 8 taps cost 8/18 of the
    difference.
    """
    full, flat = (
        models.count_macs(build_on_meta(f"{name}_{arch}", 400), 8, 224)
        for name in ("cost_a", "c2d")
    )
    assert round((full - (full - flat) * 8 / 18) / 1e9, 3) == gmacs


def test_macs_of_instance_and_factory_agree() -> None:
    def factory() -> models.VideoNetwork:
        return models.get_model("cost_b_tiny", 5)

    assert models.count_macs(factory(), 8, 64) == models.count_macs(factory, 8, 64) > 0


def test_counting_macs_leaves_the_network_alone() -> None:
    network = models.get_model("c3d_tiny", 5).train()
    before = copy.deepcopy(network.state_dict())
    rng = torch.get_rng_state()

    models.count_macs(network, 8, 64)

    assert network.training
    assert torch.equal(torch.get_rng_state(), rng)
    after = network.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_macs_do_not_depend_on_which_axis_a_view_leaves_out() -> None:
    """CoST's three convolutions cost what the full 3D kernel does: 27 taps."""
    full = models.count_macs(build_on_meta("c3d_3x3x3_tiny", 5), 8, 64)

    assert models.count_macs(build_on_meta("cost_a_tiny", 5), 8, 64) == full
    mixing = sum(3 * width**2 + 9 * width for width in (16, 32, 64))
    assert models.count_macs(build_on_meta("cost_b_tiny", 5), 8, 64) == full + mixing


@pytest.mark.parametrize("arch", [key for key, entry in ARCHITECTURES.items() if entry.pretrained])
def test_trunk_has_torchvisions_names_and_shapes(arch: str) -> None:
    import torchvision.models

    with torch.device("meta"):
        trunk = VideoResNet(ARCHITECTURES[arch], 1000, classifier_std=0.01)
        reference = torchvision.models.get_model(ARCHITECTURES[arch].pretrained)

    own = {name: value.shape for name, value in trunk.state_dict().items()}
    assert own == {name: value.shape for name, value in reference.state_dict().items()}
    norms = [m for m in reference.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == sum(isinstance(m, FrameBatchNorm2d) for m in trunk.modules())
