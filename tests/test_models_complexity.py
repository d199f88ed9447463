"""Parameters and multiply-adds against the figures derived from the papers, on shapes alone."""

import copy

import pytest
import torch
from torch import nn

import models
from models.resnet import ARCHITECTURES, FrameBatchNorm2d, VideoResNet

# Counted by hand from the papers' tables: parameters with 400 classes, GMACs of 8 x 224 x 224.
COST_PAPER = [
    ("c2d_r50", {}, 24_327_632, 19.493),
    ("c2d_r101", {}, 43_319_760, 34.342),
    ("c3d_r50", {}, 29_013_456, 24.426),
    ("c3d_r101", {}, 51_675_600, 42.152),
    ("c3d_3x3x3_r50", {}, 37_967_312, 27.817),
    ("c3d_3x3x3_r101", {}, 62_857_680, 50.064),
    ("cost_a_r50", {}, 24_333_968, 27.817),
    ("cost_a_r101", {}, 43_331_472, 50.064),
    ("cost_b_r50", {}, 25_085_464, 27.819),
    ("cost_b_r101", {}, 44_405_344, 50.068),
    ("cost_b_r50", {"shared": False}, 38_725_144, 27.819),
    ("cost_b_r101", {"shared": False}, 63_943_264, 50.068),
]


def build_on_meta(name: str, num_classes: int, **options: object) -> models.VideoNetwork:
    with torch.device("meta"):
        return models.get_model(name, num_classes, **options)


@pytest.mark.parametrize(("name", "options", "parameters", "gmacs"), COST_PAPER)
def test_cost_family_has_the_papers_size(
    name: str, options: dict[str, object], parameters: int, gmacs: float
) -> None:
    network = build_on_meta(name, 400, **options)

    assert models.count_parameters(network) == parameters
    assert round(models.count_macs(network, 8, 224) / 1e9, 3) == gmacs
    network.reset_classifier(339)
    assert models.count_parameters(network) == parameters - 61 * 2049


@pytest.mark.parametrize("name", ["tsn_r50", "tsm_r50"])
def test_frame_networks_have_the_published_size(name: str) -> None:
    network = build_on_meta(name, 174)

    assert models.count_parameters(network) == 23_864_558
    assert round(models.count_macs(network, 8, 224) / 1e9, 2) == 32.70
    network.reset_classifier(400)
    assert models.count_parameters(network) == 24_327_632


def test_tsm_r18_has_the_published_size() -> None:
    assert models.count_parameters(build_on_meta("tsm_r18", 174)) == 11_265_774


@pytest.mark.parametrize(
    ("name", "gmacs"), [("c2d_r50", 25.460), ("c3d_r50", 31.903), ("cost_b_r50", 36.334)]
)
def test_test_crop_of_256_costs_the_papers_macs(name: str, gmacs: float) -> None:
    assert round(models.count_macs(build_on_meta(name, 400), 8, 256) / 1e9, 3) == gmacs


def test_long_stem_has_the_derived_size() -> None:
    network = build_on_meta("cost_b_r101", 400, stem="32_frames")

    assert models.count_parameters(network) == 44_442_976
    assert round(models.count_macs(network, 32, 224) / 1e9, 3) == 58.565


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
