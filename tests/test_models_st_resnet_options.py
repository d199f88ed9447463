"""ST-ResNet's pooling and options, its inputs, and what the contract asks of each form."""

import pytest
import torch
from st_resnet_networks import build

import models
from models.layers import TemporalMaxPool
from models.st_resnet import STResNet


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("max_before_mean", [True, False])
def test_star_takes_the_maximum_over_five_chunks(max_before_mean: bool) -> None:
    network = build(star=True, max_before_mean=max_before_mean)
    features = torch.randn(2, network.num_features, 8, 6, 4)

    scores = network.score_chunks(features.chunk(2, 1))

    windows = [features[:, :, t : t + 5] for t in (0, 2)]
    for stream, part, ours in zip(network.streams(), (0, 1), scores, strict=True):
        half = [x.chunk(2, 1)[part] for x in windows]
        # 4x4 windows of a 6x4 map lie at three rows
        if max_before_mean:
            maps = [x.amax(2) for x in half]
            pooled = [
                torch.stack([m[:, :, i : i + 4].mean((2, 3)) for i in range(3)]) for m in maps
            ]
            expected = [stream.fc(p.mean(0)) for p in pooled]
        else:  # the maximum of each position of the window, then the mean of the positions
            means = [
                torch.stack([x[:, :, :, i : i + 4].mean((3, 4)).amax(2) for i in range(3)])
                for x in half
            ]
            expected = [stream.fc(m.mean(0)) for m in means]
        torch.testing.assert_close(ours, torch.stack(expected, dim=1))


@pytest.mark.parametrize("chunks", [5, 8, 11])
def test_mean_over_time_averages_the_scores_of_five_chunks(chunks: int) -> None:
    """A linear classifier of a mean gives the mean of the scores that ST-ResNet has."""
    plain, star = build().double(), build(star=True, star_pool="mean").double()
    star.load_state_dict(plain.state_dict())
    inputs = plain.example_inputs(2, chunks, 80)  # maps of 5x5, so four places of the window

    with torch.no_grad():
        scores, each = star.forward_streams(*inputs), plain.forward_streams(*inputs)

    for ours, chunk_scores in zip(scores, each, strict=True):
        windows = [chunk_scores[:, t : t + 5].mean(1) for t in range(0, chunks - 4, 2)]
        torch.testing.assert_close(ours, torch.stack(windows, dim=1))


@pytest.mark.parametrize("name", ["st_resnet_tiny", "two_stream_tiny"])
def test_flow_that_fits_no_clip_is_an_error(name: str) -> None:
    """Broadcasting, or the average of the scores, would let the first three pass."""
    network = models.get_model(name, 5).eval()
    clip, flow = network.example_inputs(2, 3, 32)

    for other in (flow[:1], flow[:, :, :1], flow[..., :16, :], flow[..., :16]):
        with pytest.raises(ValueError, match=r"one flow stack \(2 \* flow_length channels\)"):
            network(clip, other)
    with pytest.raises(ValueError, match=r"has 10 channels, .* has 20; make flow_length 5"):
        network(clip, flow[:, :10])
    with pytest.raises(ValueError, match=r"the clip has 4 channels, where .* has 3; give RGB"):
        network(flow[:, :4], flow)
    with pytest.raises(ValueError, match="the clip has 0 chunks; raise num_frames"):
        network(clip[:, :, :0], flow[:, :, :0])


def test_clip_and_flow_of_the_examples_differ() -> None:
    clip, flow = build().example_inputs(2, 3, 32)
    assert clip.is_contiguous()
    assert flow.is_contiguous()
    assert not torch.equal(clip, flow[:, :3])
    assert torch.equal(clip, build().example_inputs(2, 3, 32)[0])
    pair = torch.corrcoef(torch.stack([clip.flatten(), flow.flatten()[: clip.numel()]]))
    assert abs(float(pair[0, 1])) < 0.1


def test_exported_network_takes_maps_larger_than_the_window() -> None:
    network = build(connection="product")
    height, width = (torch.export.Dim(name, min=65, max=256) for name in "HW")
    free = {3: height, 4: width}
    inputs = network.example_inputs(1, 2, 96)

    exported = torch.export.export(network, inputs, dynamic_shapes=(free, free)).module()

    other = tuple(x[..., :93] for x in inputs)
    with torch.no_grad():
        torch.testing.assert_close(exported(*other), network(*other))


def test_only_star_pools_over_time() -> None:
    def pools(network: STResNet) -> int:
        return sum(isinstance(module, TemporalMaxPool) for module in network.modules())

    assert (pools(build()), pools(build(star=True))) == (0, 2)


@pytest.mark.parametrize("star_pool", ["max", "mean"])
def test_star_needs_five_chunks(star_pool: str) -> None:
    network = build(star=True, star_pool=star_pool)
    with pytest.raises(ValueError, match=r"4 frame\(s\) .* at least 5; raise num_frames"):
        network(*network.example_inputs(1, 4, 32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"connection": "mean"}, "connection is 'mean'; choose one of sum, product"),
        ({"max_before_mean": False}, "no maximum over time; set star to True"),
        ({"flow_length": 0}, "flow_length is 0"),
        ({"flow_length": 2.5}, "flow_length is 2.5; give a whole number"),
        ({"stride_on": "2x2"}, "stride_on is '2x2'"),
        ({"dropout": float("nan")}, "dropout is nan; give a probability"),
        ({"rectified": "no"}, "rectified is 'no'; give true or false"),
        ({"temporal_convolutions": 1}, "temporal_convolutions is 1; give true or false"),
        ({"links": "both"}, "links is 'both'; choose one of motion_to_appearance, appearance_to"),
        ({"star": True, "star_pool": "median"}, "star_pool is 'median'; choose one of max, mean"),
        ({"star_pool": "mean"}, "star_pool is 'mean', but star is False, .* set star to True"),
        (
            {"star": True, "star_pool": "mean", "max_before_mean": False},
            "two means give the same in either order; leave max_before_mean at True",
        ),
        ({"rectified": True, "links": "none"}, "links is 'none', which joins nothing; leave"),
        ({"rectified": True, "links": "direct"}, "'direct', which joins what the ReLU has left;"),
        (
            {"connection": "product", "links": "none", "temporal_convolutions": False},
            "so nothing is left that it decides; leave connection at 'sum'",
        ),
    ],
)
def test_option_out_of_range_is_an_error(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.parametrize(
    ("options", "chunks"),
    [
        ({}, 1),
        ({}, 5),
        ({"star": True}, 5),
        ({"star": True}, 8),
        ({"star": True, "star_pool": "mean"}, 8),
        ({"connection": "product"}, 1),
        ({"links": "bidirectional", "temporal_convolutions": False}, 2),
    ],
)
def test_frames_of_any_shape_are_classified(options: dict[str, object], chunks: int) -> None:
    network = build(**options)
    inputs = tuple(x[..., :45, :61] for x in network.example_inputs(2, chunks, 61))

    with torch.no_grad():
        logits = network(*inputs)
        features = network.forward_features(*inputs)
        torch.testing.assert_close(logits, network.forward_head(features))
        one_by_one = [network(*(x[i : i + 1] for x in inputs)) for i in range(2)]

    assert features.shape == (2, network.num_features, chunks, 3, 4)
    torch.testing.assert_close(logits, torch.cat(one_by_one), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"star": True}, {"connection": "product"}),
        ({"links": "direct"}, {"star": True, "star_pool": "mean", "links": "bidirectional"}),
    ],
)
def test_one_is_captured_and_one_exported_with_the_same_output(
    first: dict[str, object], second: dict[str, object]
) -> None:
    one, other = build(**first), build(**second)
    inputs = one.example_inputs(2, 5, 32)

    captured = torch.compile(one, fullgraph=True, backend="eager")
    exported = torch.export.export(other, inputs).module()

    with torch.no_grad():
        torch.testing.assert_close(captured(*inputs), one(*inputs))
        torch.testing.assert_close(exported(*inputs), other(*inputs))


@pytest.mark.parametrize(
    "options",
    [{"star": True}, {"star": True, "star_pool": "mean"}, {"connection": "product"}],
)
def test_bfloat16_autocast_stays_close(options: dict[str, object]) -> None:
    network = build(**options)
    inputs = network.example_inputs(2, 5, 32)

    with torch.no_grad():
        exact = network(*inputs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            close = network(*inputs).float()

    assert (close - exact).abs().max() < 0.1 * exact.abs().max()


def test_streams_compile_as_a_whole() -> None:
    network = build()
    inputs = network.example_inputs(2, 3, 32)

    captured = torch.compile(network.forward_streams, fullgraph=True, backend="eager")

    with torch.no_grad():
        for ours, eager in zip(captured(*inputs), network.forward_streams(*inputs), strict=True):
            torch.testing.assert_close(ours, eager)
