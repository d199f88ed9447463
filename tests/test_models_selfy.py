"""SELFY against slow forms written out by hand, and against the sizes of the authors' code."""

import itertools
import math

import pytest
import torch
import torchvision.models
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import models
from models.self_similarity import comparison_macs, self_similarity
from models.selfy import SELFYBlock, SoftArgmax


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def slow_similarity(features: Tensor, offsets: tuple[int, ...], window: int) -> Tensor:
    """Section 3.1 of the paper by nested loops: cosine, zeros beyond clip and border."""
    batch, _, frames, height, width = features.shape
    radius = window // 2
    out = features.new_zeros(batch, frames, height, width, len(offsets), window, window)
    places = itertools.product(range(batch), range(frames), range(height), range(width))
    for b, t, y, x in places:
        query = features[b, :, t, y, x]
        query = query / math.sqrt(float(query @ query) + 1e-6)
        for index, offset in enumerate(offsets):
            for u, v in itertools.product(range(window), range(window)):
                at = (t + offset, y + u - radius, x + v - radius)
                inside = all(0 <= p < n for p, n in zip(at, (frames, height, width), strict=True))
                if inside:
                    key = features[b, :, at[0], at[1], at[2]]
                    key = key / math.sqrt(float(key @ key) + 1e-6)
                    out[b, t, y, x, index, u, v] = query @ key
    return out


@pytest.mark.parametrize(
    ("shape", "offsets", "window"),
    [
        ((2, 3, 4, 5, 6), (-2, -1, 0, 1, 2), 3),
        ((1, 2, 3, 4, 3), (0,), 9),
        ((1, 4, 2, 3, 5), (3, -1), 5),
    ],
)
def test_similarity_equals_nested_loops(
    shape: tuple[int, ...], offsets: tuple[int, ...], window: int
) -> None:
    features = torch.randn(shape, dtype=torch.float64)

    fast = self_similarity(features, offsets, window)

    torch.testing.assert_close(fast, slow_similarity(features, offsets, window))


def test_similarity_to_itself_is_almost_one() -> None:
    features = torch.rand(1, 3, 2, 4, 4, dtype=torch.float64)

    own = self_similarity(features, (0,), 3)[0, :, :, :, 0, 1, 1]

    norm = features[0].square().sum(0)
    torch.testing.assert_close(own, norm / (norm + 1e-6))


def test_similarity_is_symmetric_and_zero_outside() -> None:
    features = torch.rand(1, 3, 4, 5, 5, dtype=torch.float64)

    s = self_similarity(features, (-1, 0, 1), 3)[0]

    # from (t, y, x) to (t+1, y+1, x) and back
    torch.testing.assert_close(s[:-1, :-1, :, 2, 2, 1], s[1:, 1:, :, 0, 0, 1])
    assert (s >= 0).all()
    assert (s <= 1).all()
    assert torch.count_nonzero(s[0, :, :, 0]) == 0
    assert torch.count_nonzero(s[-1, :, :, 2]) == 0
    assert torch.count_nonzero(s[:, 0, :, 1, 0]) == 0
    assert torch.count_nonzero(s[:, :, -1, 1, :, 2]) == 0


def test_dot_product_is_scaled_and_softmax_sums_to_one() -> None:
    features = torch.randn(1, 4, 2, 3, 3, dtype=torch.float64)

    dot = self_similarity(features, (0, 1), 3, "dot")
    chances = self_similarity(features, (0, 1), 3, "softmax")

    expected = features[0, :, 0, 1, 1] @ features[0, :, 1, 0, 2] / 2
    torch.testing.assert_close(dot[0, 0, 1, 1, 1, 0, 2], expected)
    torch.testing.assert_close(chances.sum((-1, -2)), torch.ones_like(chances[..., 0, 0]))
    assert chances[0, 0, 1, 1, 1].argmax() == dot[0, 0, 1, 1, 1].argmax()


def test_comparison_is_exact_under_autocast() -> None:
    features = torch.randn(1, 4, 3, 4, 5)
    exact = self_similarity(features, (-1, 1), 3)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = self_similarity(features, (-1, 1), 3)

    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, exact)


def test_comparisons_are_counted_as_the_definition_has_them() -> None:
    features = torch.randn(1, 4, 3, 5, 6)
    with FlopCounterMode(display=False) as counter:
        self_similarity(features, (-4, -1, 0), 3)

    meant, computed = comparison_macs((4, 3, 5, 6), (-4, -1, 0), 3)

    assert meant == 3 * 3 * 5 * 6 * 9 * 4
    assert 2 * computed == counter.get_total_flops()


def test_soft_argmax_equals_the_expected_displacement() -> None:
    maps = torch.rand(4, 1, 5, 5, dtype=torch.float64)
    found = SoftArgmax()(maps)

    assert found.shape == (4, 3, 1, 1)
    for n in range(4):
        weights = (maps[n, 0] / 0.01).exp()
        weights = weights / weights.sum()
        rows = sum(float(weights[u, v]) * (u - 2) / 2 for u in range(5) for v in range(5))
        columns = sum(float(weights[u, v]) * (v - 2) / 2 for u in range(5) for v in range(5))
        expected = torch.tensor([rows, columns, float(maps[n].max())], dtype=torch.float64)
        torch.testing.assert_close(found[n].flatten(), expected)


def count(channels: int, num_offsets: int) -> int:
    with torch.device("meta"):
        block = SELFYBlock(channels, range(num_offsets), 9)
    return models.count_parameters(block)


@pytest.mark.parametrize(
    ("num_offsets", "parameters"),
    [(1, 818_828), (3, 892_556), (5, 966_284), (7, 1_040_012), (9, 1_113_740)],
)
def test_block_has_the_derived_size(num_offsets: int, parameters: int) -> None:
    assert count(512, num_offsets) == parameters


@pytest.mark.parametrize("channels", [128, 512, 1024])
@pytest.mark.parametrize("num_offsets", range(1, 10))
def test_block_size_follows_the_formula(channels: int, num_offsets: int) -> None:
    formula = 9 * channels * 128 + 256 + 66 * channels + 158_092 + 36_864 * num_offsets
    assert count(channels, num_offsets) == formula


@pytest.mark.parametrize(
    ("position", "mmacs"), [(1, 1400), (2, 411.077), (3, 133)], ids=["res2", "res3", "res4"]
)
def test_block_costs_the_derived_macs(position: int, mmacs: float) -> None:
    def network(name: str, **options: object) -> models.VideoNetwork:
        with torch.device("meta"):
            return models.get_model(name, 174, **options)

    block = models.count_macs(network("selfy_tsm_r50", position=position), 1, 224)
    block -= models.count_macs(network("tsm_r50"), 1, 224)
    assert block / 1e6 == pytest.approx(mmacs, rel=1e-3 if position == 2 else 5e-3)


@pytest.mark.parametrize("size", [(28, 28), (35, 29), (7, 8)])
def test_block_is_the_identity_at_first_and_learns(size: tuple[int, int]) -> None:
    block = SELFYBlock(32, (-1, 0, 1), 5, hidden=16, features=16)
    x = torch.rand(2, 32, 3, *size)

    out = block(x)

    assert torch.equal(out, x)
    out.square().sum().backward()
    assert block.bn.weight.grad is not None
    assert block.bn.weight.grad.abs().max() > 0


def test_upsampling_fills_every_second_place_only() -> None:
    block = SELFYBlock(32, (0,), 5, hidden=16, features=16)
    larger = block.upsample.resize(torch.ones(1, 16, 2, 3, 3), 5, 6)

    assert larger.shape == (1, 32, 2, 5, 6)
    assert torch.count_nonzero(larger[..., 1::2, :]) == torch.count_nonzero(larger[..., 1::2]) == 0
    assert torch.count_nonzero(larger[..., ::2, ::2]) == larger[..., ::2, ::2].numel()


@pytest.mark.parametrize("extraction", ["convolution", "mlp", "soft_argmax"])
@pytest.mark.parametrize("integration", ["convolution", "pointwise", "mean"])
def test_every_variant_sees_the_order_of_frames(extraction: str, integration: str) -> None:
    network = models.get_model(
        "selfy_tsn_tiny", 3, extraction=extraction, integration=integration
    ).eval()
    nn.init.ones_(network.get_submodule("selfy.bn").weight)  # type: ignore[arg-type]
    clip = network.example_inputs(2, 5, 45)[0]

    with torch.no_grad():
        logits, swapped = network(clip), network(clip[:, :, [2, 0, 3, 1, 4]])

    assert logits.shape == (2, 3)
    assert (logits - swapped).abs().max() > 1e-3 * logits.abs().max()


def test_clips_do_not_see_each_other_in_evaluation() -> None:
    network = models.get_model("selfy_tsm_tiny", 3).eval()
    nn.init.ones_(network.get_submodule("selfy.bn").weight)  # type: ignore[arg-type]
    clip = network.example_inputs(3, 4, 32)[0]

    with torch.no_grad():
        torch.testing.assert_close(network(clip)[1:2], network(clip[1:2]))


@pytest.mark.parametrize("frames", [1, 9])
def test_any_number_of_frames_runs(frames: int) -> None:
    network = models.get_model("selfy_tsm_tiny", 3).eval()
    with torch.no_grad():
        assert network(*network.example_inputs(1, frames, 32)).shape == (1, 3)


def test_imagenet_weights_fill_all_but_block_and_classifier() -> None:
    source = torchvision.models.resnet18().state_dict()
    network = models.get_model("selfy_tsm_r18", 5)

    report = models.load_weights(network, source)

    assert not report.inflated
    assert set(report.skipped) == {"fc.weight", "fc.bias"}
    assert all(name.startswith(("selfy.", "fc.")) for name in report.new)
    assert torch.equal(
        network.state_dict()["layer3.1.conv2.weight"], source["layer3.1.conv2.weight"]
    )


def test_classifier_starts_xavier_uniform() -> None:
    weight = models.get_model("selfy_tsn_r18", 40).fc.weight
    bound = math.sqrt(6 / (512 + 40))
    assert float(weight.detach().abs().max()) == pytest.approx(bound, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 4}, "window is 4"),
        ({"offsets": []}, "offsets is"),
        ({"offsets": [1, 1]}, "each only once"),
        ({"position": 3}, "choose a stage from 1 to 2"),
        ({"similarity": "l2"}, "similarity is 'l2'"),
    ],
)
def test_option_out_of_range_is_an_error(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.get_model("selfy_tsm_tiny", 3, **options)
