"""ST-ResNet against a plain form of the paper's equations, its sizes, and what its links imply."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from st_resnet_networks import build
from torch import Tensor, nn

import models
from models.st_resnet import STResNet

Weights = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def build_on_meta(**options: object) -> STResNet:
    with torch.device("meta"):
        network = models.get_model("st_resnet_r50", 101, **options)
    assert isinstance(network, STResNet)
    return network


def randomize(network: nn.Module) -> None:
    """Take every weight and statistic away from the values that layers start with."""
    for value in [*network.parameters(), *network.buffers()]:
        if value.is_floating_point():
            value.data += 0.1 * torch.rand_like(value)


# --- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"star": True}, {"rectified": True}])
def test_network_has_the_derived_size(options: dict[str, object]) -> None:
    network = build_on_meta(**options)

    assert models.count_parameters(network) == 58_624_394
    assert [models.count_parameters(s) for s in network.streams()] == [29_285_541, 29_338_853]
    network.reset_classifier(51)
    assert models.count_parameters(network) == 58_419_494
    assert [models.count_parameters(s) for s in network.streams()] == [29_183_091, 29_236_403]


@pytest.mark.parametrize(
    ("chunks", "gmacs", "digits"), [(1, 10.0252, 4), (5, 50.1, 1), (11, 110.3, 1), (25, 250.6, 1)]
)
def test_video_costs_the_derived_macs(chunks: int, gmacs: float, digits: int) -> None:
    assert round(models.count_macs(build_on_meta(), chunks, 224) / 1e9, digits) == gmacs


def test_hmdb51_costs_the_derived_macs() -> None:
    network = build_on_meta()
    network.reset_classifier(51)
    assert round(models.count_macs(network, 1, 224) / 1e9, 4) == 10.0250


def test_each_stream_costs_the_derived_macs() -> None:
    network = build_on_meta()
    frames = {"rgb": (1, 3, 1, 224, 224), "flow": (1, 20, 1, 224, 224)}
    counted = {}
    for name, shape in frames.items():
        stream = network.get_submodule(name)
        with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
            stream(torch.empty(shape, device="meta"))
        counted[name] = round(counter.get_total_flops() / 2e9, 4)

    assert counted == {"rgb": 4.6782, "flow": 5.3470}


def test_sixteen_kernels_span_three_chunks() -> None:
    network = build_on_meta()
    temporal = {
        name: tuple(module.weight.shape)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv3d)
    }

    expected = {
        f"{stream}.layer{stage}.1.conv{conv}": shape
        for stream in ("rgb", "flow")
        for stage, (wide, narrow) in enumerate(
            [(256, 64), (512, 128), (1024, 256), (2048, 512)], start=1
        )
        for conv, shape in ((1, (narrow, wide, 3, 1, 1)), (3, (wide, narrow, 3, 1, 1)))
    }
    assert len(expected) == 16
    assert temporal == expected


def test_spatial_receptive_fields_are_table_1s() -> None:
    """Only so with the stride on the first convolution of a stage, of 1 x 1."""
    stream, field, apart = build_on_meta().rgb, 1, 1
    fields: dict[str, int] = {}
    for name, layer in stream.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.MaxPool2d) and "downsample" not in name:
            size, step = (np.ravel(value)[-1] for value in (layer.kernel_size, layer.stride))
            field += (size - 1) * apart
            apart *= step
            fields[name.partition(".")[0]] = field
    stages = {f"layer{number}": seen for number, seen in enumerate((35, 99, 291, 483), start=1)}
    assert fields == {"conv1": 7, "maxpool": 11, **stages}
    assert field + 6 * apart == 675  # the mean over 7 x 7 places


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_temporal_receptive_field_grows_by_four_chunks_a_stage(stage: int) -> None:
    """5, 9, 13, 17 chunks after the stages of R50 (table 1); the tiny streams have three."""
    stream = build().double().streams()[1]
    flow = torch.randn(1, 20, 33, 16, 16, dtype=torch.float64)
    changed = flow.clone()
    changed[:, :, 16] += 1.0

    with torch.no_grad():
        before, after = (
            stream.forward_stages(stream.forward_stem(x), last=stage) for x in (flow, changed)
        )

    differs = (before - after).abs().amax((0, 1, 3, 4)) > 0
    assert differs.nonzero().flatten().tolist() == list(range(16 - 2 * stage, 17 + 2 * stage))


@pytest.mark.parametrize("chunks", range(5, 26))
def test_star_scores_the_derived_number_of_windows(chunks: int) -> None:
    with torch.device("meta"):
        network = build(star=True)
    features = torch.empty(2, network.num_features, chunks, 4, 4, device="meta")

    scores = network.score_chunks(features.chunk(2, 1))

    expected = {5: 1, 11: 4, 25: 11}.get(chunks, (chunks - 3) // 2)
    assert [tuple(s.shape) for s in scores] == [(2, expected, 5)] * 2


# --- the equations, written out ----------------------------------------------------------------


def conv(weight: Tensor, x: Tensor, stride: int = 1) -> Tensor:
    """Convolve chunks (T, C, H, W), tap by tap along T when the kernel spans chunks."""
    padding = weight.shape[-1] // 2
    if weight.ndim == 4:
        return F.conv2d(x, weight, stride=stride, padding=padding)
    zero = torch.zeros_like(x[:1])
    padded = torch.cat([zero, x, zero])
    taps = [F.conv2d(padded[t : t + len(x)], weight[:, :, t], padding=padding) for t in range(3)]
    return taps[0] + taps[1] + taps[2]


def norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    mean, var, scale, shift = (
        weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(x, mean, var, scale, shift, eps=1e-5)


def branch(weights: Weights, block: str, x: Tensor, strides: tuple[int, int] = (1, 1)) -> Tensor:
    """The residual branch F of a block."""
    x = F.relu(norm(weights, f"{block}.bn1", conv(weights[f"{block}.conv1.weight"], x, strides[0])))
    x = conv(weights[f"{block}.conv2.weight"], x, strides[1])
    if f"{block}.conv2.temporal.weight" in weights:
        x = conv(weights[f"{block}.conv2.temporal.weight"], x)
    x = F.relu(norm(weights, f"{block}.bn2", x))
    return norm(weights, f"{block}.bn3", conv(weights[f"{block}.conv3.weight"], x))


def first_unit(weights: Weights, stage: int, x: Tensor, stride_on: str) -> Tensor:
    """The sum of the first block, before its ReLU."""
    block, stride = f"layer{stage}.0", 1 if stage == 1 else 2
    strides = (stride, 1) if stride_on == "1x1" else (1, stride)
    projection = f"{block}.downsample"
    shortcut = norm(weights, f"{projection}.1", conv(weights[f"{projection}.0.weight"], x, stride))
    return shortcut + branch(weights, block, x, strides)


def equations(
    network: STResNet,
    clip: Tensor,
    flow: Tensor,
    *,
    kernels: Weights | None = None,
    stride_on: str = "1x1",
) -> list[Tensor]:
    """Scores of the chunks of one clip, two tensors (T, K), by equations 1 and 2.

    `kernels` stand in for the network's own weights.
    """
    own = kernels or network.state_dict()
    a, m = (
        {k.removeprefix(f"{s}."): v for k, v in own.items() if k.startswith(f"{s}.")}
        for s in ("rgb", "flow")
    )
    xa, xm = (
        F.relu(norm(w, "bn1", F.conv2d(x[0].transpose(0, 1), w["conv1.weight"], None, 4, 2)))
        for w, x in ((a, clip), (m, flow))
    )
    for stage in (1, 2, 3):
        xa, xm = first_unit(a, stage, xa, stride_on), first_unit(m, stage, xm, stride_on)
        appearance = F.relu(xa) if network.rectified else xa
        motion = F.relu(xm)
        joined = appearance + motion if network.connection == "sum" else appearance * motion
        xa = F.relu(F.relu(xa) + branch(a, f"layer{stage}.1", joined))
        xm = F.relu(motion + branch(m, f"layer{stage}.1", motion))
    return [F.linear(x.mean((2, 3)), w["fc.weight"], w["fc.bias"]) for w, x in ((a, xa), (m, xm))]


@pytest.mark.parametrize("chunks", [1, 2, 5])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rectified": True},
        {"connection": "product"},
        {"connection": "product", "rectified": True},
        {"stride_on": "3x3"},
    ],
)
def test_network_follows_the_equations(options: dict[str, object], chunks: int) -> None:
    network = build(**options).double()
    randomize(network)
    inputs = network.example_inputs(1, chunks, 48)

    with torch.no_grad():
        scores = network.forward_streams(*inputs)
        expected = equations(network, *inputs, stride_on=str(options.get("stride_on", "1x1")))
        logits = network(*inputs)

    for ours, theirs in zip(scores, expected, strict=True):
        torch.testing.assert_close(ours[0], theirs, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(logits[0], torch.stack(expected).mean((0, 1)))


def test_motion_stream_is_as_it_would_be_alone() -> None:
    network = build()
    clip, flow = network.example_inputs(2, 3, 64)
    _, alone = network.streams()

    with torch.no_grad():
        _, scores = network.forward_streams(clip, flow)
        features = alone.forward_features(flow)
        torch.testing.assert_close(scores, alone.score_chunks(features))


@pytest.mark.parametrize("rectified", [True, False])
def test_appearance_without_motion_is_a_plain_stream_only_if_rectified(rectified: bool) -> None:
    """The raw sum keeps what a plain block's ReLU cuts off (equation 2)."""
    network = build(rectified=rectified)
    for block in (network.get_submodule(f"flow.layer{stage}.0") for stage in (1, 2, 3)):
        for module in block.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.zeros_(module.weight)
    clip, flow = network.example_inputs(2, 3, 64)

    with torch.no_grad():
        scores = network.forward_streams(clip, flow)[0].mean(1)
        plain = network.streams()[0](clip)

    assert torch.allclose(scores, plain, rtol=1e-4, atol=1e-5) == rectified


def test_motion_learns_from_both_losses_and_appearance_from_its_own() -> None:
    network = build()
    inputs = network.example_inputs(2, 3, 32)
    appearance, motion = network.forward_streams(*inputs)
    rgb, flow = (list(network.get_submodule(name).parameters()) for name in ("rgb", "flow"))

    (first, *_) = torch.autograd.grad(appearance.square().sum(), flow[:1], retain_graph=True)
    reached = torch.autograd.grad(motion.square().sum(), rgb, allow_unused=True)

    assert first.abs().max() > 0
    assert all(gradient is None for gradient in reached)


# --- convolutions over time --------------------------------------------------------------------


def test_new_product_network_scores_each_chunk_alone() -> None:
    network = build(connection="product")
    inputs = network.example_inputs(2, 4, 32)
    order = [2, 0, 3, 1]

    with torch.no_grad():
        scores = network.forward_streams(*inputs)
        permuted = network.forward_streams(*(x[:, :, order] for x in inputs))

    for stream, other in zip(scores, permuted, strict=True):
        torch.testing.assert_close(stream[:, order], other)


def test_still_video_is_scored_as_by_2d_streams_away_from_the_ends() -> None:
    """At initialisation three thirds of a 2D kernel are that kernel (equation 5)."""
    streams = models.get_model("two_stream_tiny", 5).double()
    randomize(streams)
    source = streams.state_dict()
    network = build().double()
    names = list("abcde")
    models.load_weights(network, source, class_names=names, source_class_names=names)
    inputs = tuple(x.expand(-1, -1, 15, -1, -1) for x in network.example_inputs(1, 1, 32))

    with torch.no_grad():
        scores = network.forward_streams(*inputs)
        expected = equations(network, *inputs, kernels=source)

    for ours, still in zip(scores, expected, strict=True):
        equal = torch.isclose(ours[0], still, rtol=1e-9, atol=1e-9).all(1)
        assert equal.tolist() == [6 <= t <= 8 for t in range(15)]


@pytest.mark.parametrize("chunks", [1, 4])
def test_ends_of_a_still_video_lack_a_third(chunks: int) -> None:
    network = build()
    kernel = network.get_submodule("rgb.layer1.1.conv1")
    assert isinstance(kernel, nn.Conv3d)
    nn.init.constant_(kernel.weight, 1 / 3)
    still = torch.ones(1, kernel.in_channels, chunks, 1, 1)

    shares = kernel(still)[0, 0, :, 0, 0] / kernel.in_channels

    expected = [1 / 3] if chunks == 1 else [2 / 3, 1, 1, 2 / 3]
    torch.testing.assert_close(shares, torch.tensor(expected))
