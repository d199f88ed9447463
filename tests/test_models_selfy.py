"""SELFY against slow forms written out by hand, and against the sizes of the authors' code."""

import copy
import functools
import math

import pytest
import torch
import torchvision.models
from selfy_tables import TableBlock, random_block, slow_similarity
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import models
from models.norm import split_batch_norm
from models.self_similarity import comparison_macs, self_similarity
from models.selfy import SELFYBlock
from models.similarity_extraction import DENSE_WINDOW, SimilarityConvolution, SoftArgmax


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


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


@pytest.mark.parametrize(
    ("extraction", "integration", "offsets", "window", "size"),
    [
        ("convolution", "convolution", (-2, -1, 0, 1, 2), 9, (6, 8)),
        ("convolution", "convolution", (1, -1, 3), 5, (5, 7)),
        ("convolution", "convolution", (0, 1), 7, (3, 6)),
        ("mlp", "convolution", (-1, 2), 5, (4, 5)),
        ("soft_argmax", "convolution", (-1, 2), 5, (5, 4)),
        ("convolution", "pointwise", (-1, 2), 5, (4, 6)),
        ("mlp", "pointwise", (-1, 0, 1), 3, (5, 4)),
        ("soft_argmax", "mean", (-1, 0, 1), 5, (4, 6)),
        ("mlp", "mean", (-1, 2), 3, (4, 4)),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_block_equals_the_table_of_the_authors_code(
    extraction: str,
    integration: str,
    offsets: tuple[int, ...],
    window: int,
    size: tuple[int, int],
    training: bool,
) -> None:
    block = random_block(extraction, integration, offsets, window).train(training)
    table = TableBlock(block, extraction, integration)
    x = torch.rand(2, 4, 3, *size, dtype=torch.float64)

    with torch.no_grad():
        expected = table(x)
        out = block(x)

    assert (expected - x).abs().max() > 0.1
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)


def test_similarity_has_the_gradient_of_its_values() -> None:
    features = torch.randn(1, 2, 2, 2, 3, dtype=torch.float64, requires_grad=True)

    for kind in ("cosine", "dot", "softmax"):
        torch.autograd.gradcheck(lambda f, k=kind: self_similarity(f, (-1, 0), 3, k), features)


@pytest.mark.parametrize("groups", [1, 2])
def test_matrices_of_small_windows_are_the_convolutions(groups: int) -> None:
    torch.manual_seed(0)
    found = []
    fast = SimilarityConvolution(DENSE_WINDOW, 32).double().train()
    split_batch_norm(fast, groups)
    plain = copy.deepcopy(fast)
    maps = torch.rand(24, 1, DENSE_WINDOW, DENSE_WINDOW, dtype=torch.float64)
    weights = torch.rand(24, 32, 1, 1, dtype=torch.float64)
    for layers, forward in (
        (fast, fast.forward),
        (plain, functools.partial(nn.Sequential.forward, plain)),
    ):
        given = maps.clone().requires_grad_()
        (out := forward(given)).mul(weights).sum().backward()
        gradients = [given.grad, *(p.grad for p in layers.parameters())]
        found.append([out, *gradients, *layers.buffers(), layers.eval()(maps)])
    assert found[0][0].std() > 0.1
    torch.testing.assert_close(*found)


def test_soft_argmax_sees_similarities_before_they_are_rounded() -> None:
    """A temperature of 0.01 makes the rounding of bfloat16 matter, most where all is alike."""
    block = random_block("soft_argmax", "mean", (0, 1), 5).to(torch.bfloat16).eval()
    nn.init.constant_(block.reduce.get_submodule("1").bias, 3.0)  # type: ignore[arg-type]
    x = torch.rand(1, 4, 3, 12, 12).bfloat16()
    seen: list[Tensor] = []
    block.integrate.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    def vectors(maps: Tensor) -> Tensor:
        return SoftArgmax()(maps).view(1, 3, 6, 6, 2, 3).permute(0, 4, 5, 1, 2, 3)

    with torch.no_grad():
        block(x)
        maps = self_similarity(block.reduce(x), (0, 1), 5).reshape(-1, 1, 5, 5)

    assert seen[0].dtype == torch.bfloat16
    assert torch.equal(seen[0], vectors(maps).bfloat16())
    assert (seen[0] - vectors(maps.bfloat16())).abs().max() > 0.05


def test_offsets_that_all_leave_the_clip_are_an_error() -> None:
    network = models.get_model("selfy_tsm_tiny", 3, offsets=[-3, 2]).eval()

    assert torch.isfinite(network(*network.example_inputs(1, 3, 32))).all()
    with pytest.raises(ValueError, match=r"2 frame\(s\), and offsets \[-3, 2\] all lead out of it"):
        network(*network.example_inputs(1, 2, 32))


@pytest.mark.parametrize(
    ("num_offsets", "short", "long"),
    [
        (1, 1.439, 2.877),
        (3, 2.364, 4.727),
        (5, 3.289, 6.577),
        (7, 4.214, 8.427),
        (9, 5.139, 10.277),
    ],
)
def test_block_costs_the_derived_gmacs(num_offsets: int, short: float, long: float) -> None:
    """Of a clip of 8 and of 16 frames, after res3 at 224 pixels."""
    offsets = range(-(num_offsets // 2), num_offsets // 2 + 1)
    for frames, expected in ((8, short), (16, long)):
        with torch.device("meta"):
            block, x = SELFYBlock(512, offsets, 9), torch.empty(1, 512, frames, 28, 28)
        with FlopCounterMode(display=False) as counter:
            block(x)
        meant, computed = comparison_macs((128, frames, 14, 14), offsets, 9)
        assert round((counter.get_total_flops() / 2 + meant - computed) / 1e9, 3) == expected


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


@pytest.mark.parametrize("last_scale", [0.0, 1.0])
def test_block_learns_from_the_first_step_with_a_last_scale(last_scale: float) -> None:
    block = SELFYBlock(32, (-1, 0, 1), 5, hidden=16, features=16, last_scale=last_scale)
    block(torch.rand(2, 32, 3, 14, 14)).square().sum().backward()
    inside = [weight.grad for name, weight in block.named_parameters() if "bn." not in name]
    assert all(grad is not None and bool(grad.any()) is bool(last_scale) for grad in inside)


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
        "selfy_tsn_tiny", 3, extraction=extraction, integration=integration, last_scale=1
    ).eval()
    clip = network.example_inputs(2, 5, 45)[0]

    with torch.no_grad():
        logits, swapped = network(clip), network(clip[:, :, [2, 0, 3, 1, 4]])

    assert logits.shape == (2, 3)
    assert (logits - swapped).abs().max() > 1e-3 * logits.abs().max()


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
    assert {name.partition(".")[0] for name in report.new} == {"selfy", "fc"}
    assert len(report.new) == sum(name.startswith("selfy.") for name in network.state_dict()) + 2
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
        ({"offsets": (0.5,)}, r"offsets is \(0.5,\); give a list of whole numbers"),
        ({"offsets": [True]}, r"offsets is \[True\]; give a list of whole numbers"),
        ({"offsets": "12"}, "offsets is '12'; give a list of whole numbers"),
        ({"offsets": 2}, "offsets is 2; give a list of whole numbers"),
        ({"window": 5.0}, "window is 5.0; give a whole number"),
        ({"last_scale": -1.0}, "last_scale is -1.0; it must be at least 0"),
        ({"position": 1.5}, "position is 1.5; give a whole number"),
        ({"position": 3}, "choose a stage from 1 to 2"),
        ({"position": [1, 3]}, "position is 3; choose a stage from 1 to 2"),
        ({"position": [2, 1]}, r"position is \[2, 1\]; give stages in order"),
        ({"position": []}, r"position is \[\]; give stages in order"),
        ({"similarity": "l2"}, "similarity is 'l2'"),
    ],
)
def test_option_out_of_range_is_an_error(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.get_model("selfy_tsm_tiny", 3, **options)


def test_several_blocks_stand_where_they_are_asked_for() -> None:
    """Two blocks are those of two networks with one, and each changes what comes after it alone."""
    two = models.get_model("selfy_tsn_tiny", 3, position=[1, 2], last_scale=1.0).eval()
    first, second = (models.get_model("selfy_tsn_tiny", 3, position=p) for p in (1, 2))
    trunk = models.get_model("tsn_tiny", 3)
    sizes = [models.count_parameters(network) for network in (two, first, second, trunk)]
    assert sizes[0] == sizes[1] + sizes[2] - sizes[3]
    clip = torch.randn(2, 3, 4, 64, 64)
    with torch.no_grad():
        x = two.selfy(two.layer1(two.forward_stem(clip)))
        x = two.layer3(two.selfy_2(two.layer2(x)))
        torch.testing.assert_close(two.forward_head(x), two(clip))


def test_several_blocks_begin_as_the_identity_and_all_learn() -> None:
    network = models.get_model("selfy_tsn_tiny", 3, position=[1, 2], dropout=0.0).eval()
    clip = torch.randn(2, 3, 4, 64, 64)
    x = network.forward_stages(network.forward_stem(clip))
    torch.testing.assert_close(network(clip), network.forward_head(x))
    network(clip).square().sum().backward()
    for block in network.blocks():
        assert block.bn.weight.grad is not None
        assert block.bn.weight.grad.abs().max() > 0


def test_several_blocks_cost_what_each_does() -> None:
    costs = {}
    for position in (1, 2, [1, 2]):
        network = models.get_model("selfy_tsm_tiny", 3, position=position)
        costs[str(position)] = models.count_macs(network, 4, 64)
    plain = models.count_macs(models.get_model("tsm_tiny", 3), 4, 64)
    assert costs["[1, 2]"] == costs["1"] + costs["2"] - plain
