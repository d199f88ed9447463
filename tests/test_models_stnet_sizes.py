"""StNet's documented parameters and multiply-adds, of the whole and of each part."""

import copy

import pytest
from stnet_networks import build_on_meta

import models
from models.stnet import StNet


def gmacs(network: StNet, super_images: int, size: int) -> float:
    return models.count_macs(network, super_images * network.frames_per_segment, size) / 1e9


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("stnet_r50", (33_158_864, 33_363_864, 32_852_389)),
        ("stnet_r101", (52_150_992, 52_355_992, 51_844_517)),
        ("stnet_r152", (67_794_640, 67_999_640, 67_488_165)),
    ],
)
def test_network_has_the_derived_parameters(name: str, parameters: tuple[int, ...]) -> None:
    network = copy.deepcopy(build_on_meta(name))
    counted = []
    for num_classes in (400, 600, 101):
        network.reset_classifier(num_classes)
        counted.append(models.count_parameters(network))

    assert tuple(counted) == parameters


@pytest.mark.parametrize(
    ("name", "costs"),
    [
        ("stnet_r50", (40.58, 53.00, 189.27)),
        ("stnet_r101", (66.57, 86.94, 310.48)),
        ("stnet_r152", (92.55, 120.88, 431.70)),
    ],
)
def test_video_costs_the_derived_macs(name: str, costs: tuple[float, ...]) -> None:
    network = build_on_meta(name)

    counted = [gmacs(network, *setting) for setting in ((7, 224), (7, 256), (25, 256))]

    assert counted == pytest.approx(costs, abs=0.0051)


def test_quoted_53_gmacs_are_52_996() -> None:
    assert round(gmacs(build_on_meta(), 7, 256), 3) == 52.996


@pytest.mark.parametrize(
    ("frames", "blocks", "xception", "parameters", "costs"),
    [
        (1, (), False, 24_327_632, (28.61, 37.37, 133.46)),
        (5, (), False, 24_365_264, (31.92, 41.68, 148.87)),
        (5, (2,), False, 25_153_232, (36.23, 47.32, 169.01)),
        (5, (3,), False, 27_514_064, (36.23, 47.32, 169.01)),
        (5, (2, 3), False, 28_302_032, (40.55, 52.96, 189.14)),
        (5, (), True, 29_222_096, (31.95, 41.72, 149.00)),
        (1, (2, 3), True, 33_121_232, (37.28, 48.68, 173.85)),
        (5, (2, 3), True, 33_158_864, (40.58, 53.00, 189.27)),
    ],
)
def test_each_part_has_the_derived_size(
    frames: int,
    blocks: tuple[int, ...],
    xception: bool,
    parameters: int,
    costs: tuple[float, ...],
) -> None:
    network = build_on_meta(
        frames_per_segment=frames, temporal_modeling=blocks, temporal_xception=xception
    )

    assert models.count_parameters(network) == parameters
    counted = [gmacs(network, *setting) for setting in ((7, 224), (7, 256), (25, 256))]
    assert counted == pytest.approx(costs, abs=0.0051)


def test_parts_add_up_as_derived() -> None:
    network = build_on_meta()
    parts = ("temporal_modeling.2", "temporal_modeling.3", "temporal_xception", "fc")

    counted = [models.count_parameters(network.get_submodule(part)) for part in parts]

    assert counted == [787_968, 3_148_800, 5_266_432, 410_000]
    assert models.count_parameters(network) - sum(counted) == 23_545_664


@pytest.mark.parametrize(
    ("frames", "parameters"),
    [(1, 33_121_232), (2, 33_130_640), (3, 33_140_048), (7, 33_177_680), (10, 33_205_904)],
)
def test_each_frame_of_a_super_image_adds_three_channels(frames: int, parameters: int) -> None:
    assert models.count_parameters(build_on_meta(frames_per_segment=frames)) == parameters


@pytest.mark.parametrize(
    ("super_images", "cost"), [(3, 22.71), (5, 37.85), (10, 75.71), (15, 113.56), (20, 151.41)]
)
def test_cost_is_linear_in_super_images(super_images: int, cost: float) -> None:
    assert gmacs(build_on_meta(), super_images, 256) == pytest.approx(cost, abs=0.0051)


@pytest.mark.parametrize(("size", "cost"), [(224, 5.792), (256, 7.565)])
def test_super_image_costs_the_derived_macs(size: int, cost: float) -> None:
    """In the trunk and its temporal modelling blocks; the classifier is there once for all."""
    network = build_on_meta(temporal_xception=False)
    one, two = (gmacs(network, super_images, size) for super_images in (1, 2))
    assert round(two - one, 3) == cost
