"""StNet: its blocks and its network against plain forms, with any number of super-images."""

import copy

import pytest
import torch
import torch.nn.functional as F
from stnet_networks import build, build_on_meta
from torch import Tensor, nn

import models
from models.norm import freeze_batch_norm
from models.stnet import StNet, stack_super_images
from models.stnet_blocks import TemporalModelingBlock, TemporalXception


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def randomize(module: nn.Module) -> None:
    """Take every weight and statistic away from the values that layers start with."""
    for value in [*module.parameters(), *module.buffers()]:
        if value.is_floating_point():
            value.data += 0.3 * torch.rand_like(value)


# --- super-images ------------------------------------------------------------------------------


def test_super_images_are_the_stacked_frames() -> None:
    clip = torch.randn(2, 3, 12, 5, 7)

    stacked = stack_super_images(clip, 4)

    explicit = torch.stack(
        [torch.cat([clip[:, :, 4 * s + n] for n in range(4)], dim=1) for s in range(3)], dim=2
    )
    assert stacked.shape == (2, 12, 3, 5, 7)
    assert torch.equal(stacked, explicit)


def test_stem_convolves_one_super_image_at_a_time() -> None:
    network = build(frames_per_segment=4)
    clip = torch.randn(1, 3, 8, 20, 24)

    with torch.no_grad():
        ours = network.conv1(stack_super_images(clip, 4))
        second = clip[:, :, 4:].transpose(1, 2).flatten(1, 2)  # (1, 12, H, W)
        explicit = F.conv2d(second, network.conv1.weight, stride=4, padding=2)

    torch.testing.assert_close(ours[:, :, 1], explicit)


def test_clip_of_other_than_three_channels_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"the clip has 4 channels, .* \(B, 3, T, H, W\)"):
        build()(torch.zeros(1, 4, 4, 32, 32))


@pytest.mark.parametrize("frames", [0, 1, 7, 31])
def test_frames_that_fill_no_super_image_are_an_error(frames: int) -> None:
    network = build(frames_per_segment=5)
    with pytest.raises(ValueError, match=rf"num_frames is {frames}, .* frames_per_segment=5 "):
        network(torch.zeros(1, 3, frames, 32, 32))


@pytest.mark.parametrize(("name", "frames"), [("stnet_r50", 5), ("stnet_tiny", 2)])
def test_super_images_have_the_families_frames(name: str, frames: int) -> None:
    network = build_on_meta(name)
    assert network.frames_per_segment == frames
    assert network.conv1.weight.shape[1] == 3 * frames


# --- temporal modelling block ------------------------------------------------------------------


def explicit_conv(block: TemporalModelingBlock, x: Tensor) -> Tensor:
    """The convolution over time, written out step by step."""
    weight, bias = block.conv.weight[..., 0, 0], block.conv.bias  # (C, C, 3), (C,)
    assert bias is not None
    out = bias[None, :, None, None, None].expand_as(x).clone()
    for t in range(x.shape[2]):
        for tap, source in enumerate((t - 1, t, t + 1)):
            if 0 <= source < x.shape[2]:
                out[:, :, t] += torch.einsum("oc,bchw->bohw", weight[:, :, tap], x[:, :, source])
    return out


def explicit_norm(layer: nn.Module, x: Tensor) -> Tensor:
    """Batch normalization in evaluation mode, channels on axis 1."""
    assert isinstance(layer, nn.modules.batchnorm._BatchNorm)
    shape = (1, -1, *[1] * (x.ndim - 2))
    assert layer.running_mean is not None
    assert layer.running_var is not None
    mean, var = layer.running_mean.reshape(shape), layer.running_var.reshape(shape)
    x = (x - mean) / (var + layer.eps).sqrt()
    return x * layer.weight.reshape(shape) + layer.bias.reshape(shape)


@pytest.mark.parametrize("form", ["released", "paper"])
@torch.no_grad()
def test_temporal_block_follows_its_form(form: str) -> None:
    block = TemporalModelingBlock(6, form).double().eval()  # type: ignore[arg-type]
    randomize(block)
    x = torch.randn(2, 6, 5, 3, 4, dtype=torch.float64)

    mixed = explicit_conv(block, x)
    expected = (
        explicit_norm(block.bn, mixed.relu()) + x
        if form == "released"
        else explicit_norm(block.bn, mixed).relu()
    )

    torch.testing.assert_close(block(x), expected)


@torch.no_grad()
def test_released_block_without_weights_is_the_identity() -> None:
    block = TemporalModelingBlock(6).eval()
    x = torch.randn(2, 6, 5, 3, 4)

    assert not torch.allclose(block(x), x)  # not so at the start
    nn.init.zeros_(block.conv.weight)
    assert torch.equal(block(x), x)


def test_temporal_block_normalises_over_super_images() -> None:
    block = TemporalModelingBlock(4, "paper")
    x = torch.randn(2, 4, 5, 6, 7) * torch.arange(1, 6)[None, None, :, None, None]

    block(x)

    assert block.bn.running_mean is not None
    expected = 0.1 * block.conv(x).mean((0, 2, 3, 4))
    torch.testing.assert_close(block.bn.running_mean, expected.detach(), rtol=1e-4, atol=1e-5)


def test_blocks_start_uniform_by_their_fan_in() -> None:
    network = models.get_model("stnet_tiny", 5)
    assert isinstance(network, StNet)
    xception = network.temporal_xception
    assert xception is not None
    fan_ins = {
        "temporal_modeling.1.conv": 3 * 32,
        "temporal_modeling.2.conv": 3 * 64,
        "temporal_xception.depthwise1": 3,
        "temporal_xception.pointwise1": 128,
        "temporal_xception.depthwise2": 3,
        "temporal_xception.pointwise2": 64,
        "temporal_xception.shortcut": 128,
    }
    for name, fan_in in fan_ins.items():
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Conv1d | nn.Conv3d)
        assert layer.bias is not None
        bound = (6 / fan_in) ** 0.5
        weight = layer.weight.detach()
        assert 0.9 * bound < float(weight.abs().max()) <= bound, name
        assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.1), name
        assert torch.count_nonzero(layer.bias) == 0, name


@torch.no_grad()
def test_average_start_is_the_mean_of_three_super_images() -> None:
    block = TemporalModelingBlock(6, "paper", "average").eval()
    x = torch.rand(2, 6, 5, 3, 4)

    expected = torch.stack([x[:, :, t - 1 : t + 2].mean((1, 2)) for t in (1, 2, 3)], dim=1)

    out = block(x)[:, :, 1:4]
    torch.testing.assert_close(out, expected[:, None].expand_as(out), rtol=1e-4, atol=1e-5)


def test_classifier_starts_uniform_by_the_width_of_the_trunk() -> None:
    layer = nn.Linear(1024, 400)
    build_on_meta().init_classifier(layer)

    bound = 2048**-0.5
    weight = layer.weight.detach()
    assert 0.999 * bound < float(weight.abs().max()) <= bound * (1 + 1e-6)
    assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.01)
    assert torch.count_nonzero(layer.bias) == 0


# --- temporal Xception block -------------------------------------------------------------------


def separable(depthwise: nn.Conv1d, pointwise: nn.Conv1d, x: Tensor) -> Tensor:
    """A depthwise and a pointwise convolution, one output step at a time; x is (B, C, S)."""
    assert depthwise.bias is not None
    assert pointwise.bias is not None
    steps = []
    for t in range(x.shape[2]):
        step = depthwise.bias.expand(x.shape[0], -1)
        for tap, source in enumerate((t - 1, t, t + 1)):
            if 0 <= source < x.shape[2]:
                step = step + depthwise.weight[:, 0, tap] * x[:, :, source]
        steps.append(step @ pointwise.weight[..., 0].t() + pointwise.bias)
    return torch.stack(steps, dim=2)


def explicit_xception(block: TemporalXception, x: Tensor) -> Tensor:
    """The temporal Xception block in evaluation mode, step by step; x is (B, C, S)."""
    v = explicit_norm(block.bn1, x)
    long = explicit_norm(block.bn2, separable(block.depthwise1, block.pointwise1, v)).relu()
    long = separable(block.depthwise2, block.pointwise2, long)
    assert block.shortcut.bias is not None
    short = torch.einsum("oc,bcs->bos", block.shortcut.weight[..., 0], v)
    short = short + block.shortcut.bias[:, None]
    return explicit_norm(block.bn3, long + short).relu()


@torch.no_grad()
@pytest.mark.parametrize("super_images", [1, 2, 7])
def test_temporal_xception_equals_its_slow_form(super_images: int) -> None:
    block = TemporalXception(12, 6).double().eval()
    randomize(block)
    x = torch.randn(2, 12, super_images, dtype=torch.float64)

    torch.testing.assert_close(block(x), explicit_xception(block, x))


def test_training_needs_two_super_images_in_all() -> None:
    network = build().train()
    with pytest.raises(ValueError, match=r"one super-image in all, .* raise batch_size or num_seg"):
        network(torch.randn(1, 3, 2, 32, 32))

    assert network(torch.randn(1, 3, 4, 32, 32)).isfinite().all()
    freeze_batch_norm(network)
    assert network.train()(torch.randn(1, 3, 2, 32, 32)).isfinite().all()


@torch.no_grad()
def test_temporal_xception_sees_two_steps_to_either_side() -> None:
    block = TemporalXception(12, 16).double().eval()
    randomize(block)
    x = torch.randn(1, 12, 11, dtype=torch.float64)
    changed = x.clone()
    changed[:, :, 5] += 10.0

    differs = (block(x) - block(changed)).abs().amax((0, 1)) > 0

    assert differs.nonzero().flatten().tolist() == [3, 4, 5, 6, 7]


@torch.no_grad()
@pytest.mark.parametrize(
    ("options", "ordered"),
    [
        ({}, True),
        ({"temporal_xception": False}, True),
        ({"temporal_modeling": ()}, True),
        ({"temporal_modeling": (), "temporal_xception": False}, False),
        ({"temporal_modeling": (), "temporal_xception": False, "head_pool": "mean"}, False),
    ],
)
def test_only_temporal_parts_know_the_order_of_super_images(
    options: dict[str, object], ordered: bool
) -> None:
    network = build(**options).double()
    clip = torch.randn(1, 3, 8, 32, 32, dtype=torch.float64)
    shuffled = clip.unflatten(2, (4, 2))[:, :, [2, 0, 3, 1]].flatten(2, 3)

    before, after = network(clip), network(shuffled)

    assert torch.allclose(before, after, rtol=1e-9, atol=1e-12) is not ordered


@torch.no_grad()
def test_frames_inside_a_super_image_have_an_order() -> None:
    network = build(temporal_modeling=(), temporal_xception=False)
    clip = torch.randn(1, 3, 4, 32, 32)
    swapped = clip[:, :, [1, 0, 2, 3]]

    assert not torch.allclose(network(clip), network(swapped))


@torch.no_grad()
@pytest.mark.parametrize("pool", ["max", "mean"])
def test_head_pools_as_asked(pool: str) -> None:
    network = build(temporal_xception=False, head_pool=pool)
    maps = torch.randn(2, network.num_features, 3, 2, 2)

    vectors = [maps[:, :, s].mean((2, 3)) for s in range(3)]
    stacked = torch.stack(vectors)
    pooled = stacked.max(0).values if pool == "max" else stacked.mean(0)

    torch.testing.assert_close(network.forward_head(maps), network.fc(pooled))


@torch.no_grad()
def test_descriptor_is_the_maximum_behind_the_xception_block() -> None:
    network = build()
    clip = torch.randn(2, 3, 8, 32, 32)
    assert network.temporal_xception is not None

    maps = network.forward_trunk(clip)
    mixed = network.temporal_xception(maps.mean((3, 4)))

    assert maps.shape == (2, 128, 4, 2, 2)
    assert network.forward_features(clip).shape == (2, 64, 4, 1, 1)
    torch.testing.assert_close(network(clip), network.fc(mixed.max(2).values))


# --- any number of super-images, any size ------------------------------------------------------


@torch.no_grad()
def test_network_scores_any_number_of_super_images_by_its_slow_form() -> None:
    network = build().double()
    assert network.temporal_xception is not None
    randomize(network.temporal_xception)

    for super_images, height, width in ((25, 32, 32), (7, 64, 64), (3, 45, 61), (1, 37, 33)):
        clip = torch.randn(1, 3, 2 * super_images, height, width, dtype=torch.float64)
        vectors = network.forward_trunk(clip).mean((3, 4))
        mixed = explicit_xception(network.temporal_xception, vectors)
        assert network.forward_features(clip).shape == (1, 64, super_images, 1, 1)
        torch.testing.assert_close(network(clip), network.fc(mixed.max(2).values))


def test_full_network_keeps_the_documented_shapes() -> None:
    network = copy.deepcopy(build_on_meta()).eval()
    seen = {}
    for name in ("conv1", "maxpool", "layer1", "temporal_modeling.2", "temporal_modeling.3"):

        def record(_: nn.Module, __: object, output: Tensor, name: str = name) -> None:
            seen[name] = tuple(output.shape[1:])

        network.get_submodule(name).register_forward_hook(record)
    clip = torch.empty(1, 3, 35, 224, 224, device="meta")

    assert network.forward_trunk(clip).shape == (1, 2048, 7, 7, 7)
    assert network.forward_features(clip).shape == (1, 1024, 7, 1, 1)
    assert seen == {
        "conv1": (64, 7, 112, 112),
        "maxpool": (64, 7, 56, 56),
        "layer1": (256, 7, 56, 56),
        "temporal_modeling.2": (512, 7, 28, 28),
        "temporal_modeling.3": (1024, 7, 14, 14),
    }
