"""StNet's options, the weights that it starts from, and what each form shares with the others."""

import pytest
import torch
import torch.nn.functional as F
from stnet_networks import build, build_on_meta, check_trunk_fills
from torch import Tensor

import models
from models.stnet import StNet


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# --- pretrained weights ------------------------------------------------------------------------


def widened(rule: str, kernel: Tensor, frames: int = 5) -> Tensor:
    network = build_on_meta(super_image_weights=rule, frames_per_segment=frames)
    shape = torch.Size((64, 3 * frames, 7, 7))
    adapted = network.adapt_weight("conv1.weight", kernel, shape)
    assert adapted is not None
    assert adapted.shape == shape
    return adapted


@pytest.mark.parametrize("rule", ["mean", "inflate"])
def test_widened_kernel_keeps_its_sum_over_channels(rule: str) -> None:
    kernel = torch.randn(64, 3, 7, 7)
    torch.testing.assert_close(widened(rule, kernel).sum(1), kernel.sum(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rule", "grey"), [("mean", True), ("inflate", True), ("inflate", False)])
def test_still_clip_gives_the_response_to_one_frame(rule: str, grey: bool) -> None:
    kernel = torch.randn(64, 3, 7, 7)
    frame = torch.randn(1, 1 if grey else 3, 20, 22).expand(1, 3, 20, 22)

    response = F.conv2d(frame.repeat(1, 5, 1, 1), widened(rule, kernel))

    torch.testing.assert_close(response, F.conv2d(frame, kernel), rtol=1e-3, atol=1e-4)


def test_mean_kernel_is_blind_to_colour_and_inflated_is_not() -> None:
    kernel = torch.randn(64, 3, 7, 7)
    mean, inflated = widened("mean", kernel), widened("inflate", kernel)

    torch.testing.assert_close(mean, mean[:, :1].expand_as(mean))
    torch.testing.assert_close(mean[:, 0], kernel.mean(1) / 5)
    torch.testing.assert_close(
        inflated.unflatten(1, (5, 3)) * 5, kernel[:, None].expand(-1, 5, -1, -1, -1)
    )


@pytest.mark.parametrize(("name", "arch"), [("stnet_r50", "resnet50"), ("stnet_r152", "resnet152")])
def test_imagenet_weights_fill_the_trunk(name: str, arch: str) -> None:
    import torchvision.models

    with torch.device("meta"):
        source = torchvision.models.get_model(arch).state_dict()
    network = build_on_meta(name)
    assert network.pretrained_arch == arch

    check_trunk_fills(network, source, stem="conv1.weight")


def test_super_image_of_one_frame_takes_the_kernel_as_it_is() -> None:
    plain = models.get_model("tsn_tiny", 5).state_dict()
    network = build(frames_per_segment=1, temporal_modeling=(), temporal_xception=False)

    report = models.load_weights(network, plain)

    assert report.inflated == []
    assert torch.equal(network.conv1.weight, plain["conv1.weight"])


def test_kernel_of_other_super_images_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fit nowhere: .*conv1\.weight \(16, 6, 5, 5\)"):
        models.load_weights(build(frames_per_segment=4), build().state_dict())


# --- options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames_per_segment": 0}, "frames_per_segment is 0; .* at least 1 frame"),
        ({"super_image_weights": "max"}, "super_image_weights is 'max'; choose one of mean, infl"),
        ({"temporal_block": "i3d"}, "temporal_block is 'i3d'; choose one of released, paper"),
        ({"temporal_init": "dirac"}, "temporal_init is 'dirac'; choose one of he, average"),
        ({"temporal_init": "average"}, "set temporal_block to 'paper'"),
        (
            {"temporal_block": "paper", "temporal_modeling": ()},
            "no temporal modelling block; leave it at 'released'",
        ),
        (
            {"temporal_block": "paper", "temporal_init": "average", "temporal_modeling": []},
            "no temporal modelling block; leave it at 'released'",
        ),
        (
            {"super_image_weights": "inflate", "frames_per_segment": 1},
            "leave it at 'mean', or raise frames_per_segment",
        ),
        ({"frames_per_segment": 2.5}, "frames_per_segment is 2.5; give a whole number"),
        ({"frames_per_segment": True}, "frames_per_segment is True; give a whole number"),
        ({"temporal_xception": "no"}, "temporal_xception is 'no'; give true or false"),
        ({"temporal_modeling": 2}, "temporal_modeling is 2; give a list of numbers"),
        ({"temporal_modeling": [1.0]}, r"temporal_modeling is \[1.0\]; give a list of numbers"),
        ({"temporal_modeling": [True]}, r"temporal_modeling is \[True\]; give a list of numb"),
        ({"dropout": float("nan")}, "dropout is nan; give a probability from 0 to 1"),
        ({"head_pool": "sum"}, "head_pool is 'sum'; choose one of max, mean"),
        ({"head_pool": "mean"}, "set temporal_xception to False"),
        ({"temporal_modeling": (0,)}, r"temporal_modeling is \[0\]; .* of 1, 2, 3"),
        ({"temporal_modeling": [1, 4]}, r"temporal_modeling is \[1, 4\]"),
        ({"temporal_modeling": [2, 2]}, "each once"),
        ({"dropout": 1.5}, "dropout"),
    ],
)
def test_option_out_of_range_is_an_error(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_basic_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="arch is 'r18'; choose one of r50, r101, r152, tiny"):
        StNet("r18", 5)


def test_options_show_in_the_printed_network() -> None:
    text = str(build(temporal_xception=False, head_pool="mean", temporal_block="paper"))
    for part in ("frames_per_segment=2", "head_pool=mean", "super_image_weights=mean"):
        assert part in text
    assert text.count("form=paper") == 2


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {"frames_per_segment": 4},
        {"temporal_block": "paper", "temporal_modeling": (3,)},
        {"temporal_xception": False, "head_pool": "mean"},
    ],
)
def test_every_form_is_captured_and_exported(options: dict[str, object]) -> None:
    network = build(**options)
    clip = torch.randn(2, 3, 8, 33, 47)
    expected = network(clip)

    captured = torch.compile(network, fullgraph=True, backend="eager")
    exported = torch.export.export(network, (clip,)).module()

    torch.testing.assert_close(captured(clip), expected)
    torch.testing.assert_close(exported(clip), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(clip)
    assert (rough.float() - expected).abs().max() < 0.1 * expected.abs().max()


def test_channels_last_clips_give_the_same_gradients() -> None:
    network = models.get_model("stnet_tiny", 5).double()
    clip = torch.randn(3, 3, 8, 32, 36, dtype=torch.float64)
    gradients = []
    for memory_format in (torch.contiguous_format, torch.channels_last_3d):
        network.zero_grad()
        logits = network(clip.contiguous(memory_format=memory_format))
        F.cross_entropy(logits, torch.arange(3)).backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])

    assert len(gradients[0]) == len(list(network.parameters()))
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9)


def test_dropout_acts_in_training_only() -> None:
    network = build(dropout=0.5)
    features = torch.rand(2, network.num_features, 3, 1, 1)

    assert torch.equal(network.forward_head(features), network.forward_head(features))
    network.train()
    assert not torch.equal(network.forward_head(features), network.forward_head(features))
