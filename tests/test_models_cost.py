"""The CoST operation against explicit 3D convolutions, and what the paper says about it."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from cost_figure_8 import FIGURE_8
from torch import Tensor, nn

from models.cost import CoST, CoSTOperation, CoSTOperationA, CoSTOperationB
from models.cost_forms import Form, table_1
from models.registry import get_model

OPERATIONS = [CoSTOperationA, CoSTOperationB]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def double(operation: CoSTOperation) -> CoSTOperation:
    """The operation in float64, with coefficients away from where they start."""
    for parameter in operation.double().parameters():
        nn.init.normal_(parameter, std=0.5)
    return operation


def three_views(operation: CoSTOperation, x: Tensor) -> list[Tensor]:
    """Equation 1 with an explicit 3D kernel for each view."""
    banks = (
        operation.weight if not operation.shared else operation.weight[None].expand(3, *[-1] * 4)
    )
    stride = operation.stride
    return [
        F.conv3d(x, banks[0][:, :, None, :, :], stride=stride, padding=(0, 1, 1)),
        F.conv3d(x, banks[1][:, :, :, None, :], stride=stride, padding=(1, 0, 1)),
        F.conv3d(x, banks[2][:, :, :, :, None], stride=stride, padding=(1, 1, 0)),
    ]


@pytest.mark.parametrize(
    ("kind", "form"), [(kind, form) for kind in OPERATIONS for form in kind.forms]
)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shared", [True, False])
def test_operation_equals_three_explicit_views(
    kind: type[CoSTOperation], form: Form, stride: int, shared: bool
) -> None:
    operation = double(kind(4, 6, stride, shared=shared, form=form))
    x = torch.randn(2, 4, 5, 8, 6, dtype=torch.float64)
    assert operation.form_for(x) == form

    shares = operation.coefficients(x)
    views = torch.stack(three_views(operation, x), dim=2)  # (B, C', 3, T, H, W)
    expected = (views * shares[..., None, None, None]).sum(2)

    assert expected.shape == (2, 6, 5, 8 // stride, 6 // stride)
    torch.testing.assert_close(operation(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", CoSTOperationA.forms)
@pytest.mark.parametrize("stride", [1, 2])
def test_operation_equals_nested_loops(stride: int, form: Form) -> None:
    """Independent of any convolution: the sum over offsets, written out."""
    operation = double(CoSTOperationA(2, 1, stride, form=form))
    x = torch.randn(1, 2, 3, 4, 4, dtype=torch.float64)
    w, (a_hw, a_tw, a_th) = operation.weight.detach(), operation.coefficients(x)[0, 0].tolist()

    def at(c: int, t: int, h: int, v: int) -> float:
        inside = 0 <= t < 3 and 0 <= h < 4 and 0 <= v < 4
        return float(x[0, c, t, h, v]) if inside else 0.0

    y = operation(x).detach()
    for t, h, v in itertools.product(range(3), range(y.shape[3]), range(y.shape[4])):
        total = 0.0
        for c, i, j in itertools.product(range(2), (-1, 0, 1), (-1, 0, 1)):
            tap = float(w[0, c, i + 1, j + 1])
            row, column = h * stride, v * stride
            total += tap * a_hw * at(c, t, row + i, column + j)
            total += tap * a_tw * at(c, t + i, row, column + j)
            total += tap * a_th * at(c, t + i, row + j, column)
        assert float(y[0, 0, t, h, v]) == pytest.approx(total, abs=1e-10)


def test_merged_kernel_has_19_taps() -> None:
    kernel = CoSTOperationA(4, 6).merged_kernel()

    taps = (kernel != 0).flatten(0, 1).all(0)
    corners = kernel[:, :, ::2, ::2, ::2]
    assert int(taps.sum()) == 19
    assert torch.count_nonzero(corners) == 0


@pytest.mark.parametrize("stride", [1, 2])
def test_one_hot_coefficients_reproduce_c2d(stride: int) -> None:
    operation = double(CoSTOperationA(4, 6, stride))
    operation.logits.data = torch.tensor([1e4, 0.0, 0.0], dtype=torch.float64).repeat(6, 1)
    x = torch.randn(2, 4, 3, 6, 6, dtype=torch.float64)

    frames = [F.conv2d(x[:, :, t], operation.weight, stride=stride, padding=1) for t in range(3)]

    torch.testing.assert_close(operation(x), torch.stack(frames, dim=2))


@pytest.mark.parametrize("kind", OPERATIONS)
def test_coefficients_sum_to_one(kind: type[CoSTOperation]) -> None:
    shares = double(kind(4, 6)).coefficients(torch.randn(3, 4, 2, 5, 5, dtype=torch.float64))

    assert shares.shape == (3, 6, 3)
    assert (shares > 0).all()
    torch.testing.assert_close(shares.sum(2), torch.ones(3, 6, dtype=torch.float64))


def test_swapping_rows_and_columns_exchanges_the_temporal_views() -> None:
    operation = double(CoSTOperationA(4, 6))
    x = torch.randn(2, 4, 5, 6, 6, dtype=torch.float64)
    _, tw, th = three_views(operation, x)

    operation.logits.data = torch.tensor([0.0, 1e4, 0.0], dtype=torch.float64).repeat(6, 1)
    swapped = operation(x.transpose(3, 4)).transpose(3, 4)

    torch.testing.assert_close(swapped, th)
    assert not torch.allclose(swapped, tw)


def test_still_clip_makes_the_temporal_views_one_dimensional() -> None:
    """Away from the ends, summing over time leaves a 1D convolution along W (T-W) or H (T-H)."""
    operation = double(CoSTOperationA(4, 6))
    frame = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    still = frame[:, :, None].expand(-1, -1, 5, -1, -1)
    summed = operation.weight.sum(2)  # (C', C, 3), over the rows, which lie along T

    for view, kernel, padding in ((1, summed[:, :, None], (0, 1)), (2, summed[..., None], (1, 0))):
        operation.logits.data = torch.full((6, 3), -1e4, dtype=torch.float64)
        operation.logits.data[:, view] = 0
        expected = F.conv2d(frame, kernel, padding=padding)
        torch.testing.assert_close(operation(still)[:, :, 2], expected)


def test_learned_coefficients_start_at_the_released_values() -> None:
    shares = CoSTOperationA(4, 6).coefficients(torch.zeros(1, 4, 1, 2, 2))

    expected = torch.tensor([0.6697, 0.1651, 0.1651]).expand(1, 6, 3)
    torch.testing.assert_close(shares, expected, atol=1e-4, rtol=0)


def test_predicted_coefficients_start_near_one_third() -> None:
    operation = CoSTOperationB(64, 64)

    shares = operation.coefficients(torch.randn(2, 64, 4, 8, 8))

    assert (shares - 1 / 3).abs().max() < 0.05
    assert shares.std() > 0


def test_predicted_coefficients_follow_the_written_steps() -> None:
    """Figure 5: global max, C' to C' shared by the views, 3 to 3 shared by the channels."""
    operation = double(CoSTOperationB(4, 6))
    assert isinstance(operation, CoSTOperationB)
    x = torch.randn(2, 4, 5, 6, 6, dtype=torch.float64)
    across_channels = operation.channel_mixing.weight
    across_views = operation.view_mixing.weight

    pooled = torch.stack([view.flatten(2).max(2).values for view in three_views(operation, x)])
    logits = torch.einsum("vu,oc,ubc->bov", across_views, across_channels, pooled)

    torch.testing.assert_close(operation.coefficients(x), logits.softmax(-1))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("kind", "form"), [(kind, form) for kind in OPERATIONS for form in kind.forms]
)
def test_gradient_is_that_of_the_whole_operation(
    kind: type[CoSTOperation], form: Form, shared: bool
) -> None:
    """Of the input and of every parameter, through pooling and prediction too: none is detached."""
    operation = double(kind(2, 2, 2, shared=shared, form=form))
    x = torch.randn(2, 2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    names, parameters = zip(*operation.named_parameters(), strict=True)

    def run(x: Tensor, *values: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(
            operation, dict(zip(names, values, strict=True)), (x,)
        )
        return result

    torch.autograd.gradcheck(run, (x, *parameters))


@pytest.mark.parametrize(
    ("kind", "form"), [(kind, form) for kind in OPERATIONS for form in kind.forms]
)
def test_every_form_keeps_the_precision(kind: type[CoSTOperation], form: Form) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        y = kind(4, 6, form=form)(torch.randn(1, 4, 2, 4, 4))

    assert y.dtype == torch.bfloat16


def test_table_1_stays_as_it_was_committed() -> None:
    """A resumed run adds in the order in which it began: a change needs another name."""
    sizes = [(64, 8, 56, 1), (128, 4, 56, 2), (128, 4, 28, 1), (256, 4, 28, 2), (256, 4, 14, 1),
             (512, 4, 14, 2), (512, 4, 7, 1), (16, 8, 16, 1), (64, 4, 8, 2)]  # fmt: skip
    taken = {
        clips: "".join(
            table_1(torch.empty(clips, channels, frames, side, side), channels, stride)[0]
            for channels, frames, side, stride in sizes
        )
        for clips in (1, 2, 4, 10, 32)
    }

    assert taken == {1: "mmfmfsffs", 2: "mmmmmsfmm", 4: "mmmmmmfmm", 10: "mmmmmmfmm", 32: "m" * 9}
    assert table_1(torch.empty(1, 512, 4, 7, 7, device="meta"), 512, 1) == "merged"


def test_each_operation_takes_what_the_table_says() -> None:
    two, one = torch.empty(2, 4, 4, 8, 8), torch.empty(1, 4, 4, 8, 8)

    assert CoSTOperationA(4, 4).form_for(two) == "merged"
    assert CoSTOperationB(4, 4).form_for(two) == "separate"
    assert all(kind(4, 4).form_for(one) == "folded" for kind in OPERATIONS)
    assert all(kind(4, 4, 2).form_for(one) == "separate" for kind in OPERATIONS)


def test_a_form_that_an_operation_lacks_is_refused() -> None:
    with pytest.raises(
        ValueError, match="form is 'merged'; choose one of table_1, separate, folded"
    ):
        get_model("cost_b_tiny", 5, form="merged")
    with pytest.raises(ValueError, match="form is 'other'; choose one of table_1, separate"):
        CoSTOperationA(4, 4, form="other")  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", ["r50", "r101"])
def test_replaced_blocks_are_those_of_the_release(depth: str) -> None:
    masks = {
        "r50": ["010", "1010", "101010", "101"],
        "r101": ["010", "1010", "10101010101010101010101", "010"],
    }
    with torch.device("meta"):
        network = get_model(f"cost_a_{depth}", 10)
        baseline = get_model(f"c3d_{depth}", 10)
    assert isinstance(network, CoST)

    expected = [
        f"layer{stage + 1}.{block}"
        for stage, mask in enumerate(masks[depth])
        for block, replaced in enumerate(mask)
        if replaced == "1"
    ]
    assert list(network.operations()) == [f"{block}.conv2" for block in expected]
    inflated = [name for name, m in baseline.named_modules() if isinstance(m, nn.Conv3d)]
    assert inflated == [f"{block}.conv1" for block in expected]


def test_units_of_r50_see_the_papers_shapes() -> None:
    """C, T, input and output H x W of the eight layers of figure 8."""
    with torch.device("meta"):
        network = get_model("cost_b_r50", 400).eval()
        clip = torch.empty(1, 3, 8, 224, 224)
    assert isinstance(network, CoST)
    seen: list[tuple[int, ...]] = []
    for operation in network.operations().values():
        operation.register_forward_hook(
            lambda _, inputs, y: seen.append((*inputs[0].shape[1:4], y.shape[3]))
        )

    features = network.forward_features(clip)

    assert features.shape == (1, 2048, 4, 7, 7)
    assert seen == [
        (64, 8, 56, 56),
        (128, 4, 56, 28),
        (128, 4, 28, 28),
        (256, 4, 28, 14),
        (256, 4, 14, 14),
        (256, 4, 14, 14),
        (512, 4, 14, 7),
        (512, 4, 7, 7),
    ]


def test_long_stem_gives_the_short_clips_shapes() -> None:
    with torch.device("meta"):
        network = get_model("cost_b_r50", 400, stem="32_frames").eval()
        clip = torch.empty(1, 3, 32, 224, 224)

    assert network.forward_features(clip).shape == (1, 2048, 4, 7, 7)


@pytest.mark.parametrize("name", ["cost_a_tiny", "cost_b_tiny"])
def test_network_reports_coefficients_of_every_layer(name: str) -> None:
    network = get_model(name, 5).eval()
    assert isinstance(network, CoST)
    clip = torch.randn(2, 3, 4, 64, 64)

    found = network.coefficients(clip)

    assert {key: tuple(value.shape) for key, value in found.items()} == {
        "layer1.0.conv2": (2, 16, 3),
        "layer2.0.conv2": (2, 32, 3),
        "layer3.0.conv2": (2, 64, 3),
    }
    assert not any(m._forward_pre_hooks for m in network.modules())
    again = network.coefficients(clip.flip(0))
    torch.testing.assert_close(again["layer3.0.conv2"].flip(0), found["layer3.0.conv2"])


def test_mean_over_layers_is_what_the_paper_prints() -> None:
    """Section 4.5: 0.67 / 0.14 / 0.19 on Moments in Time, 0.77 / 0.08 / 0.15 on Kinetics."""
    network = get_model("cost_a_r50", 2)
    assert isinstance(network, CoST)
    (clip,) = network.example_inputs(1, 2, 32)

    for data, printed in (("moments", (0.67, 0.14, 0.19)), ("kinetics", (0.77, 0.08, 0.15))):
        layers = torch.tensor(FIGURE_8[data])
        for operation, row in zip(network.operations().values(), layers, strict=True):
            assert isinstance(operation, CoSTOperationA)
            operation.logits.data = row.log().repeat(len(operation.logits), 1)

        found = torch.stack([share.mean((0, 1)) for share in network.coefficients(clip).values()])

        torch.testing.assert_close(found, layers, atol=2e-3, rtol=0)
        torch.testing.assert_close(found.mean(0), torch.tensor(printed), atol=6e-3, rtol=0)


def test_coefficients_are_those_of_evaluation_and_change_nothing() -> None:
    network = get_model("cost_b_tiny", 5)
    assert isinstance(network, CoST)
    network.bn1.eval()  # a frozen layer stays so
    (clip,) = network.example_inputs(2, 4, 32)
    modes = [module.training for module in network.modules()]
    before = {key: value.clone() for key, value in network.state_dict().items()}

    found = network.coefficients(clip)

    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    expected = network.eval().coefficients(clip)
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


@pytest.mark.parametrize("shared", ["no", 0, None])
def test_sharing_is_true_or_false(shared: object) -> None:
    with pytest.raises(ValueError, match=f"shared is {shared!r}; give true or false"):
        get_model("cost_b_tiny", 5, shared=shared)
