"""The two streams without links: sizes of the paper, receptive fields, scores of every chunk."""

from collections.abc import Iterator

import pytest
import torch
import torchvision.models
from torch import Tensor, nn

import models
from models.layers import FrameConv2d, FrameMaxPool2d
from models.stream import SlidingMean, Stream
from models.two_stream import StreamNetwork

TINY = ["rgb_stream_tiny", "flow_stream_tiny", "two_stream_tiny"]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def build_on_meta(name: str, num_classes: int, **options: object) -> StreamNetwork:
    with torch.device("meta"):
        network = models.get_model(name, num_classes, **options)
    assert isinstance(network, StreamNetwork)
    return network


@pytest.mark.parametrize(
    ("name", "ucf101", "hmdb51", "gmacs"),
    [
        ("rgb_stream_r50", 23_714_981, 23_612_531, 3.8561),
        ("flow_stream_r50", 23_768_293, 23_665_843, 4.5249),
        ("two_stream_r50", 47_483_274, 47_278_374, 8.3810),
    ],
)
def test_streams_have_the_derived_size(name: str, ucf101: int, hmdb51: int, gmacs: float) -> None:
    network = build_on_meta(name, 101)

    assert models.count_parameters(network) == ucf101
    assert round(models.count_macs(network, 1, 224) / 1e9, 4) == gmacs
    network.reset_classifier(51)
    assert models.count_parameters(network) == hmdb51


def test_stride_on_3x3_costs_what_torchvisions_network_does() -> None:
    network = build_on_meta("rgb_stream_r50", 101, stride_on="3x3")

    assert models.count_parameters(network) == 23_714_981
    assert round(models.count_macs(network, 1, 224) / 1e9, 3) == 4.087


def first(size: int | tuple[int, ...]) -> int:
    """Height of a size that torch keeps as one number or as two."""
    return size if isinstance(size, int) else size[0]


def windows(stream: Stream) -> Iterator[tuple[str, int, int]]:
    """Name, kernel and stride of what a pixel goes through, identities and projections aside."""
    for name, module in stream.named_modules():
        if isinstance(module, FrameConv2d | FrameMaxPool2d) and "downsample" not in name:
            yield name, first(module.kernel_size), first(module.stride)
    pool = stream.get_submodule("pool")
    assert isinstance(pool, SlidingMean)
    yield "pool", pool.window, 1


@pytest.mark.parametrize(
    ("stride_on", "expected"),
    [("1x1", [7, 11, 35, 99, 291, 483, 675]), ("3x3", [7, 11, 35, 91, 267, 427, 619])],
)
@pytest.mark.parametrize("modality", ["rgb", "flow"])
def test_receptive_fields_are_those_of_table_1(
    modality: str, stride_on: str, expected: list[int]
) -> None:
    network = build_on_meta(f"{modality}_stream_r50", 101, stride_on=stride_on)
    field, jump, after = 1, 1, {}

    for name, kernel, stride in windows(network.streams()[0]):
        field, jump = field + (kernel - 1) * jump, jump * stride
        after[name.split(".")[0]] = field

    assert list(after) == ["conv1", "maxpool", *(f"layer{i}" for i in (1, 2, 3, 4)), "pool"]
    assert list(after.values()) == expected


def test_torchvision_weights_give_torchvisions_scores() -> None:
    """One frame, and the stride where torchvision has it: the same numbers."""
    reference = torchvision.models.resnet50(num_classes=9).eval()
    network = models.get_model("rgb_stream_r50", 9, stride_on="3x3").eval()
    assert isinstance(network, StreamNetwork)
    names = list("abcdefghi")

    report = models.load_weights(
        network, reference.state_dict(), class_names=names, source_class_names=names
    )

    assert report.inflated == report.new == []
    clip = torch.randn(1, 3, 2, 64, 64)
    with torch.no_grad():
        expected = torch.stack([reference(clip[:, :, t]) for t in range(2)], dim=1)
        (scores,) = network.forward_streams(clip)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", TINY)
def test_logits_are_the_mean_of_all_scores(name: str) -> None:
    network = build(name).eval()
    inputs = network.example_inputs(2, 3, 64)

    with torch.no_grad():
        logits, streams = network(*inputs), network.forward_streams(*inputs)

    assert len(streams) == len(network.modalities) == len(network.classifiers)
    assert all(scores.shape == (2, 3, 5) for scores in streams)
    torch.testing.assert_close(logits, torch.cat(streams, dim=1).mean(1))
    assert (streams[0][:, 0] - streams[0][:, 1]).abs().max() > 1e-3


def build(name: str, **options: object) -> StreamNetwork:
    network = models.get_model(name, 5, **options)
    assert isinstance(network, StreamNetwork)
    return network


def test_each_chunk_is_scored_alone() -> None:
    network = build("two_stream_tiny").eval()
    inputs = network.example_inputs(2, 4, 64)
    order = [2, 0, 3, 1]

    with torch.no_grad():
        scores = network.forward_streams(*inputs)
        permuted = network.forward_streams(*(x[:, :, order] for x in inputs))

    for stream, other in zip(scores, permuted, strict=True):
        torch.testing.assert_close(stream[:, order], other)


def test_two_streams_are_the_mean_of_the_streams_alone() -> None:
    """A checkpoint of either stream holds the very names that both streams' network has."""
    rgb, flow, both = (build(name).eval() for name in TINY)
    weights = {**rgb.state_dict(), **flow.state_dict()}
    names = list("abcde")

    report = models.load_weights(both, weights, class_names=names, source_class_names=names)

    assert sorted(report.loaded) == sorted(weights)
    assert report.new == report.inflated == []
    clip, motion = both.example_inputs(2, 2, 64)
    with torch.no_grad():
        torch.testing.assert_close(both(clip, motion), (rgb(clip) + flow(motion)) / 2)


def slide(features: Tensor, window: int) -> list[Tensor]:
    """The mean of every window of the last maps, (B, C, T, H, W) to a list of (B, T, C)."""
    height, width = features.shape[3:]
    rows, columns = max(1, height - window + 1), max(1, width - window + 1)
    return [
        features[..., i : i + window, j : j + window].mean((3, 4)).transpose(1, 2)
        for i in range(rows)
        for j in range(columns)
    ]


@pytest.mark.parametrize(
    ("height", "width", "positions"), [(64, 64, 1), (96, 80, 6), (33, 47, 1), (61, 109, 4)]
)
def test_larger_frames_are_scored_at_every_position(
    height: int, width: int, positions: int
) -> None:
    network = build("two_stream_tiny").eval()
    inputs = tuple(x[..., :height, :width] for x in network.example_inputs(2, 2, 112))

    with torch.no_grad():
        features = network.forward_features(*inputs)
        logits = network(*inputs)
        expected = []
        for stream, part in zip(network.streams(), features.chunk(2, 1), strict=True):
            placed = slide(part, 4)
            assert len(placed) == positions
            expected.append(torch.stack([stream.fc(x) for x in placed]).mean((0, 2)))

    torch.testing.assert_close(logits, torch.stack(expected).mean(0))
    assert features.shape[3:] == (-(-height // 16), -(-width // 16))


def test_window_is_the_last_map_of_training() -> None:
    pools = [s.pool for s in build_on_meta("two_stream_r50", 5).streams()]

    assert [pool.window for pool in pools if isinstance(pool, SlidingMean)] == [7, 7]
    x = torch.randn(2, 3, 4, 7, 7)
    torch.testing.assert_close(SlidingMean(7)(x), x.mean((3, 4), keepdim=True))


@pytest.mark.parametrize("name", TINY)
def test_reset_replaces_the_classifier_of_every_stream(name: str) -> None:
    network = build(name).double()
    before = {key: value.clone() for key, value in network.state_dict().items()}

    network.reset_classifier(9)

    after = network.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert {key.rpartition(".")[0] for key in changed} == set(network.classifiers)
    assert after.keys() == before.keys()
    for key in network.classifiers:
        layer = network.get_submodule(key)
        assert isinstance(layer, nn.Linear)
        assert layer.weight.shape[0] == network.num_classes == 9
        assert layer.weight.dtype == torch.float64


def test_classifier_starts_small() -> None:
    network = build_on_meta("two_stream_r50", 5).to_empty(device="cpu")
    network.reset_classifier(101)

    for stream in network.streams():
        assert float(stream.fc.weight.detach().std()) == pytest.approx(0.01, rel=0.02)
        assert torch.count_nonzero(stream.fc.bias) == 0


def test_dropout_acts_on_every_stream_in_training_alone() -> None:
    network = build("two_stream_tiny", dropout=1.0)
    inputs = network.example_inputs(2, 2, 32)

    assert torch.count_nonzero(network(*inputs)) == 0
    assert torch.count_nonzero(network.eval()(*inputs)) > 0


def test_flow_length_sets_the_channels() -> None:
    network = build("flow_stream_tiny", flow_length=5)

    assert network.modalities == ("flow",)
    (flow,) = network.example_inputs(1, 3, 32)
    assert flow.shape == (1, 10, 3, 32, 32)
    assert network(flow).shape == (1, 5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("flow_stream_tiny", {"flow_length": 0}, "flow_length is 0; a stack has at least 1"),
        ("rgb_stream_tiny", {"stride_on": "5x5"}, "stride_on is '5x5'; choose one of 1x1, 3x3"),
        ("rgb_stream_tiny", {"flow_length": 5}, "no option flow_length; its options are stride_on"),
        ("two_stream_tiny", {"dropout": 1.5}, "dropout"),
        ("flow_stream_tiny", {"flow_length": True}, "flow_length is True; give a whole number"),
    ],
)
def test_option_out_of_range_is_an_error(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        models.get_model(name, 5, **options)


def test_stream_alone_names_flow_of_another_length() -> None:
    network = build("flow_stream_tiny", flow_length=5)
    with pytest.raises(ValueError, match=r"has 20 channels, .* has 10; make flow_length 10"):
        network(torch.zeros(1, 20, 3, 32, 32))


def test_basic_blocks_are_an_error() -> None:
    from models.two_stream import TwoStream

    with pytest.raises(ValueError, match=r"arch is 'r18'; choose one of r50, r101"):
        TwoStream("r18", 5)


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_2d_weights_reach_every_stream(stream: str) -> None:
    source = {k.removeprefix("rgb."): v for k, v in build("rgb_stream_tiny").state_dict().items()}
    network = build("two_stream_tiny")

    report = models.load_weights(network, source)

    assert report.inflated == ["flow.conv1.weight"]
    classifiers = [f"{s}.fc.{part}" for part in ("weight", "bias") for s in ("rgb", "flow")]
    assert list(report.skipped) == classifiers
    assert sorted(report.new) == sorted(classifiers)
    assert len(report.loaded) == 2 * len(source) - 5
    own = network.state_dict()
    kept = [key for key in source if key != "conv1.weight" and not key.startswith("fc.")]
    assert all(torch.equal(own[f"{stream}.{key}"], source[key]) for key in kept)


def test_flow_kernels_start_as_the_mean_over_colours() -> None:
    source = {k.removeprefix("rgb."): v for k, v in build("rgb_stream_tiny").state_dict().items()}
    network = build("flow_stream_tiny")

    models.load_weights(network, source)

    kernel = network.state_dict()["flow.conv1.weight"]
    assert kernel.shape[1] == 20
    for channel in kernel.unbind(1):
        torch.testing.assert_close(channel, source["conv1.weight"].mean(1))


def test_scale_of_flow_shows_where_statistics_are_kept() -> None:
    """Batch normalization by the batch takes out that flow enters undivided; kept ones do not."""
    network = build("flow_stream_tiny").double()
    (flow,) = network.example_inputs(4, 2, 64)
    flow, weight = 10 * flow, network.streams()[0].conv1.weight
    found = {}
    for training in (False, True):
        network.train(training)
        for scale in (1.0, 1 / 57):
            scores = network(scale * flow)
            (gradient,) = torch.autograd.grad(scores.square().sum(), weight)
            found[training, scale] = (scores.detach(), gradient)

    for divided, undivided in zip(found[True, 1 / 57], found[True, 1.0], strict=True):
        assert (divided - undivided).norm() < 0.01 * undivided.norm()  # the epsilon of the norm
    torch.testing.assert_close(57 * found[False, 1 / 57][0], found[False, 1.0][0])


def test_weights_of_another_flow_length_are_an_error() -> None:
    source = build("flow_stream_tiny", flow_length=5).state_dict()
    with pytest.raises(ValueError, match=r"flow.conv1.weight \(16, 10, 5, 5\) for \(16, 20, 5, 5"):
        models.load_weights(build("flow_stream_tiny"), source)


def test_weights_of_one_stream_are_not_enough_for_two() -> None:
    with pytest.raises(ValueError, match=r"they lack .*flow.conv1.weight"):
        models.load_weights(build("two_stream_tiny"), build("rgb_stream_tiny").state_dict())
