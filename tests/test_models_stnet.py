"""StNet: its documented sizes, its blocks against plain forms, and what its first kernel keeps."""

import copy
from collections.abc import Hashable
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import models
from models.stnet import StNet, TemporalModelingBlock, TemporalXception, stack_super_images


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def build(**options: object) -> StNet:
    network = models.get_model("stnet_tiny", 5, **options)
    assert isinstance(network, StNet)
    return network.eval()


@cache
def build_on_meta(name: str = "stnet_r50", **options: Hashable) -> StNet:
    with torch.device("meta"):
        network = models.get_model(name, 400, **options)
    assert isinstance(network, StNet)
    return network


def randomize(module: nn.Module) -> None:
    """Take every weight and statistic away from the values that layers start with."""
    for value in [*module.parameters(), *module.buffers()]:
        if value.is_floating_point():
            value.data += 0.3 * torch.rand_like(value)


def gmacs(network: StNet, super_images: int, size: int) -> float:
    return models.count_macs(network, super_images * network.frames_per_segment, size) / 1e9


# --- sizes -------------------------------------------------------------------------------------


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
        ("stnet_r50", (40.58, 52.996, 189.27)),
        ("stnet_r101", (66.57, 86.94, 310.48)),
        ("stnet_r152", (92.55, 120.88, 431.70)),
    ],
)
def test_video_costs_the_derived_macs(name: str, costs: tuple[float, ...]) -> None:
    network = build_on_meta(name)

    counted = [gmacs(network, *setting) for setting in ((7, 224), (7, 256), (25, 256))]

    assert counted == pytest.approx(costs, rel=1e-3)


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


@pytest.mark.parametrize("frames", [1, 7, 31])
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

    expected = x.mean(1)[:, 1:4].clone()  # (B, 3, H, W) around the middle
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


@torch.no_grad()
@pytest.mark.parametrize("super_images", [1, 2, 7])
def test_temporal_xception_equals_its_slow_form(super_images: int) -> None:
    block = TemporalXception(12, 6).double().eval()
    randomize(block)
    x = torch.randn(2, 12, super_images, dtype=torch.float64)

    v = explicit_norm(block.bn1, x)
    long = explicit_norm(block.bn2, separable(block.depthwise1, block.pointwise1, v)).relu()
    long = separable(block.depthwise2, block.pointwise2, long)
    assert block.shortcut.bias is not None
    short = torch.einsum("oc,bcs->bos", block.shortcut.weight[..., 0], v)
    short = short + block.shortcut.bias[:, None]
    expected = explicit_norm(block.bn3, long + short).relu()

    torch.testing.assert_close(block(x), expected)


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
def test_weights_of_seven_super_images_run_on_twenty_five() -> None:
    trained, tested = build(), build()
    trained(torch.randn(1, 3, 14, 32, 32))
    tested.load_state_dict(trained.state_dict())

    for super_images, height, width in ((25, 32, 32), (7, 64, 64), (3, 45, 61), (1, 37, 33)):
        clip = torch.randn(1, 3, 2 * super_images, height, width)
        assert tested.forward_features(clip).shape == (1, 64, super_images, 1, 1)
        torch.testing.assert_close(tested(clip), trained(clip))


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

    report = models.load_weights(network, source)

    assert report.inflated == ["conv1.weight"]
    assert sorted(report.skipped) == ["fc.bias", "fc.weight"]
    assert len(report.loaded) == len(source) - 3
    assert {name.split(".")[0] for name in report.new} == {
        "temporal_modeling",
        "temporal_xception",
        "fc",
    }


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
