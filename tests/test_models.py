"""The contract of every network, on the tiny ones; names and options of the registry."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import PROJECT_ROOT
from torch import nn

import models
from models.c2d import REPLACED, PooledResNet
from models.norm import freeze_batch_norm
from models.registry import MODELS
from models.resnet import ARCHITECTURES, Architecture, BasicBlock, Bottleneck
from models.selfy import BLOCK_SIZES
from models.stnet import FRAMES_PER_SEGMENT
from models.stream import STREAM_SIZES

TINY = [name for name in models.list_models() if name.endswith("_tiny")]
ORDER_BLIND = ("c2d", "tsn", "two_stream", "rgb_stream", "flow_stream")
"""Averages of frames."""
WITH_DROPOUT = (
    "cost_a",
    "cost_b",
    "c2d",
    "c3d",
    "c3d_3x3x3",
    "selfy_tsm",
    "selfy_tsn",
    "tsn",
    "tsm",
)
"""Families whose papers or authors' code drop half of the features before the classifier."""
GOLDEN = Path(__file__).parent / "golden" / "models_tiny.json"
REGENERATE = "KINETOSCOPE_REGENERATE_GOLDEN=1 uv run pytest tests/test_models.py -k golden"


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def build(name: str, num_classes: int, **options: object) -> models.VideoNetwork:
    """A network in which every part acts: a block that starts as the identity is switched on."""
    network = models.get_model(name, num_classes, **options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            nn.init.constant_(module.weight, 4.0)
    return network


def test_importing_models_does_not_import_torch() -> None:
    code = "import sys, models; dir(models); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_all_names_are_importable_lazily() -> None:
    assert len(models.__all__) > 20
    assert set(models.__all__) <= set(dir(models))
    assert all(getattr(models, name).__name__ == name for name in models.__all__)
    with pytest.raises(AttributeError, match="No models attribute C4D"):
        models.C4D  # noqa: B018


def test_registry_holds_the_promised_names() -> None:
    names = "cost_a_r50 cost_b_r101 c2d_r18 c2d_r34 c3d_r50 c3d_3x3x3_r101 tsn_r18 tsm_r101"
    names += " selfy_tsm_r50 selfy_tsn_r18 stnet_r50 stnet_r101 stnet_r152 stnet_irv2"
    names += " st_resnet_r50 two_stream_r50 rgb_stream_r50 flow_stream_r50"
    assert set(names.split()) < set(models.list_models())
    assert len(TINY) == 14
    assert {name.rpartition("_")[2] for name in MODELS} <= {*ARCHITECTURES, "irv2"}


def test_tables_of_the_families_know_every_trunk() -> None:
    bottlenecks = {a for a, size in ARCHITECTURES.items() if issubclass(size.block, Bottleneck)}
    assert bottlenecks == {"r50", "r101", "r152", "tiny"}
    assert set(BLOCK_SIZES) == set(ARCHITECTURES)
    assert set(REPLACED) == set(STREAM_SIZES) == bottlenecks
    assert set(FRAMES_PER_SEGMENT) == bottlenecks | {"irv2"}


def test_no_code_asks_whether_a_network_is_tiny() -> None:
    """What is small about the tiny networks stands in tables."""
    files = sorted((PROJECT_ROOT / "models").glob("*.py"))
    assert len(files) > 15
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            asks = isinstance(node, ast.Compare | ast.Match) or (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("startswith", "endswith")
            )
            words = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            assert not (asks and any("tiny" in str(word) for word in words)), (path, node.lineno)


@pytest.mark.parametrize("name", ["cost_a_r50", "c2d_r18", "tsm_r101", "tsn_tiny"])
def test_network_names_the_weights_that_fit(name: str) -> None:
    expected = {"r18": "resnet18", "r50": "resnet50", "r101": "resnet101", "tiny": None}
    with torch.device("meta"):
        network = models.get_model(name, 3)
    assert network.pretrained_arch == expected[name.rpartition("_")[2]]


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no network 'cost_r50'; did you mean .*cost_[ab]_r50"):
        models.get_model("cost_r50", 5)


def test_unknown_option_names_the_allowed_ones() -> None:
    with pytest.raises(ValueError, match=r"no option share; .* shared, form, pools, stem, dropout"):
        models.get_model("cost_a_tiny", 5, share=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes is 0"),
        ({"pools": "none"}, "pools is 'none'; choose one of released, paper"),
        ({"stem": "64_frames"}, "stem is '64_frames'; choose one of 8_frames, 32_frames"),
        ({"stem": "32_frames", "pools": "paper"}, "set pools to 'released'"),
        ({"dropout": 1.5}, "dropout"),
        ({"num_classes": 2.0}, "num_classes is 2.0; give a whole number"),
    ],
)
def test_option_out_of_range_is_an_error(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.get_model("c2d_tiny", **{"num_classes": 5, **options})


def test_bottleneck_families_refuse_basic_blocks() -> None:
    with pytest.raises(ValueError, match=r"arch is 'r18'; choose one of r50, r101"):
        models.CoSTA("r18", 5)


@pytest.mark.parametrize(("frames", "height", "width"), [(4, 32, 32), (6, 45, 61)])
@pytest.mark.parametrize("name", TINY)
def test_network_maps_clips_to_logits(name: str, frames: int, height: int, width: int) -> None:
    network = build(name, 5).eval()
    inputs = tuple(
        x[..., :height, :width] for x in network.example_inputs(2, frames, max(height, width))
    )

    with torch.no_grad():
        features = network.forward_features(*inputs)
        logits = network(*inputs)

    assert features.shape[:2] == (2, network.num_features)
    assert logits.shape == (2, network.num_classes) == (2, 5)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits, network.forward_head(features))


@pytest.mark.parametrize("name", TINY)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    network = build(name, 5)

    logits = network(*network.example_inputs(4, 4, 32))
    F.cross_entropy(logits, torch.arange(4)).backward()

    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", models.list_models())
def test_every_listed_network_gives_logits_on_shapes_alone(name: str) -> None:
    if name.endswith("irv2"):
        pytest.importorskip("timm", reason="stnet_irv2 needs the extra timm")
    with torch.device("meta"):
        network = models.get_model(name, 7).eval()
        inputs = network.example_inputs(1, 10, 64 if name.endswith("_tiny") else 224)

    with torch.no_grad():
        logits = network(*inputs)

    assert logits.shape == (1, 7)
    assert models.count_parameters(network) > 10_000


@pytest.mark.parametrize("name", TINY)
def test_captured_graph_gives_the_same_output(name: str) -> None:
    network = build(name, 5).eval()
    inputs = network.example_inputs(2, 4, 32)

    torch._dynamo.reset()  # else the graphs of other networks count as recompilations
    captured = torch.compile(network, fullgraph=True, backend="eager")

    with torch.no_grad():
        torch.testing.assert_close(captured(*inputs), network(*inputs))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.one_slow_case] * (n == "selfy_tsm_tiny")) for n in TINY],
)
def test_compiled_network_gives_the_same_output(name: str) -> None:
    network = build(name, 5).eval()
    inputs = network.example_inputs(2, 4, 32)

    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(network, fullgraph=True)(*inputs)
        torch.testing.assert_close(compiled, network(*inputs), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", TINY)
def test_exported_network_gives_the_same_output(name: str) -> None:
    network = build(name, 5).eval()
    inputs = network.example_inputs(2, 4, 32)

    exported = torch.export.export(network, inputs).module()

    with torch.no_grad():
        torch.testing.assert_close(exported(*inputs), network(*inputs))


@pytest.mark.parametrize("name", TINY)
def test_bfloat16_autocast_stays_close(name: str) -> None:
    network = build(name, 5).eval()
    inputs = network.example_inputs(2, 4, 32)

    with torch.no_grad():
        exact = network(*inputs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(*inputs)

    assert torch.isfinite(logits).all()
    assert (logits.float() - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("name", TINY)
def test_state_dict_round_trip_is_exact(name: str) -> None:
    network, other = (build(name, 5).eval() for _ in range(2))
    clip = network.example_inputs(1, 4, 32)

    with torch.no_grad():
        assert not torch.equal(network(*clip), other(*clip))
        other.load_state_dict(network.state_dict())
        assert torch.equal(network(*clip), other(*clip))


@pytest.mark.parametrize("name", TINY)
def test_golden_outputs_have_not_changed(name: str) -> None:
    network = build(name, 3).eval()
    with torch.no_grad():
        logits = network(*network.example_inputs(2, 4, 32)).tolist()
    if os.environ.get("KINETOSCOPE_REGENERATE_GOLDEN"):
        stored = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
        stored[name] = [[round(value, 7) for value in row] for row in logits]
        GOLDEN.write_text(json.dumps(stored, indent=1) + "\n")
        pytest.skip(f"wrote {GOLDEN}")
    expected = torch.tensor(json.loads(GOLDEN.read_text())[name])
    torch.testing.assert_close(
        torch.tensor(logits),
        expected,
        rtol=1e-3,
        atol=1e-3 * float(expected.abs().max()),
        msg=lambda text: f"{text}\nif this is meant, run: {REGENERATE}",
    )


@pytest.mark.parametrize("name", TINY)
def test_reset_classifier_replaces_the_classifier_alone(name: str) -> None:
    network = models.get_model(name, 5).double()
    before = {key: value.clone() for key, value in network.state_dict().items()}

    network.reset_classifier(9)

    assert network.num_classes == 9
    after = network.state_dict()
    assert list(after) == list(before)
    replaced = {f"{layer}.{part}" for layer in network.classifiers for part in ("weight", "bias")}
    for key, value in after.items():
        if key in replaced:
            assert value.shape == (9, *before[key].shape[1:])
            assert value.dtype == torch.float64
        else:
            assert torch.equal(value, before[key])


@pytest.mark.parametrize(("name", "std"), [("cost_a_r50", 0.01), ("tsm_r50", 0.001)])
def test_classifier_starts_as_in_the_authors_code(name: str, std: float) -> None:
    with torch.device("meta"):
        network = models.get_model(name, 5)
    network.to_empty(device="cpu").reset_classifier(400)

    assert float(network.fc.weight.detach().std()) == pytest.approx(std, rel=0.02)
    assert torch.count_nonzero(network.fc.bias) == 0


def test_example_inputs_are_the_same_on_every_call() -> None:
    network = models.get_model("tsn_tiny", 5)
    before = torch.get_rng_state()

    first, second = network.example_inputs(2, 3, 32), network.example_inputs(2, 3, 32)

    assert first[0].shape == (2, 3, 3, 32, 32)
    assert torch.equal(first[0], second[0])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("frames", [4, 8])
def test_c2d_cannot_tell_a_clip_from_its_reversal(frames: int) -> None:
    """The control of every motion study: the released pools make C2D blind to direction."""
    network = models.get_model("c2d_tiny", 5).eval()
    (clip,) = network.example_inputs(2, frames, 32)

    with torch.no_grad():
        torch.testing.assert_close(network(clip), network(clip.flip(2)), rtol=1e-5, atol=1e-6)


def test_tsn_cannot_tell_the_order_of_frames() -> None:
    network = models.get_model("tsn_tiny", 5).eval()
    (clip,) = network.example_inputs(2, 5, 32)

    with torch.no_grad():
        shuffled = network(clip[:, :, [3, 0, 4, 2, 1]])
        torch.testing.assert_close(network(clip), shuffled, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in TINY if not n.startswith(ORDER_BLIND)])
def test_temporal_networks_tell_a_clip_from_its_reversal(name: str) -> None:
    network = build(name, 5).eval()
    inputs = network.example_inputs(2, 4, 32)

    with torch.no_grad():
        forward, backward = network(*inputs), network(*(x.flip(2) for x in inputs))

    assert (forward - backward).abs().max() > 1e-2 * forward.abs().max()


@pytest.mark.parametrize("name", TINY)
def test_clips_of_a_batch_meet_in_batch_normalization_alone(name: str) -> None:
    network = build(name, 3, dropout=0.0)
    inputs = network.example_inputs(3, 4, 32)
    others = tuple(torch.stack([x[0] + 1, x[1], -x[2]]) for x in inputs)

    with torch.no_grad():
        one, other = network(*inputs)[1], network(*others)[1]
        assert (one - other).abs().max() > 1e-3 * one.abs().max()
        torch.testing.assert_close(network.eval()(*inputs)[1], network(*others)[1])
        freeze_batch_norm(network)
        torch.testing.assert_close(network.train()(*inputs)[1], network(*others)[1])


@pytest.mark.parametrize("family", WITH_DROPOUT)
def test_half_of_the_features_drop_out_before_the_classifier(family: str) -> None:
    (half,) = [m for m in models.get_model(f"{family}_tiny", 3).modules() if type(m) is nn.Dropout]
    network = models.get_model(f"{family}_tiny", 3, dropout=1.0)
    bias = nn.init.normal_(network.fc.bias)
    inputs = network.example_inputs(2, 4, 32)

    assert half.p == 0.5
    torch.testing.assert_close(network(*inputs), bias.expand(2, 3))
    assert not torch.allclose(network.eval()(*inputs), bias.expand(2, 3), atol=1e-4)


POOLS: dict[str, tuple[dict[str, str], nn.Module, nn.Module]] = {
    "released": (
        {},
        nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        nn.MaxPool3d((2, 1, 1), stride=(2, 1, 1)),
    ),
    "paper": (
        {"pools": "paper"},
        nn.MaxPool3d((3, 3, 3), stride=(1, 2, 2), padding=(1, 1, 1)),
        nn.MaxPool3d((3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0)),
    ),
    "32_frames": (
        {"stem": "32_frames"},
        nn.MaxPool3d((2, 3, 3), stride=(2, 2, 2), padding=(0, 1, 1)),
        nn.MaxPool3d((2, 1, 1), stride=(2, 1, 1)),
    ),
}
"""Options of the CoST paper's networks, and the two pools of table 1 and the authors' code."""


@pytest.mark.parametrize("frames", [16, 11])
@pytest.mark.parametrize("kind", POOLS)
def test_pools_are_those_of_the_table(kind: str, frames: int) -> None:
    options, pool1, pool2 = POOLS[kind]
    small = Architecture(BasicBlock, (1, 1), None, width=8)
    network = PooledResNet(small, 3, **options).eval()  # type: ignore[arg-type]
    clip = torch.randn(2, 3, frames, 32, 32)

    with torch.no_grad():
        stem = pool1(network.bn1(network.conv1(clip)).relu())
        middle = pool2(network.get_submodule("layer1")(stem))
        expected = network.get_submodule("layer2")(middle)
        torch.testing.assert_close(network.forward_features(clip), expected)

    length = {"released": frames // 2, "paper": (frames + 1) // 2, "32_frames": (frames + 1) // 8}
    assert expected.shape[2] == length[kind]


@pytest.mark.parametrize(
    ("options", "fewest"),
    [({}, 2), ({"pools": "paper"}, 1), ({"stem": "32_frames"}, 7)],
)
def test_too_short_a_clip_is_told_what_it_needs(options: dict[str, str], fewest: int) -> None:
    network = models.get_model("c2d_tiny", 5, **options).eval()

    assert network.forward_features(torch.zeros(1, 3, fewest, 32, 32)).shape[2] == 1
    for frames in range(1, fewest):
        with pytest.raises(ValueError, match=rf"has {frames} frame.*least {fewest}; raise num_fr"):
            network(torch.zeros(1, 3, frames, 32, 32))


def test_pools_of_the_paper_give_the_same_shapes() -> None:
    released = models.get_model("c2d_tiny", 5).eval()
    paper = models.get_model("c2d_tiny", 5, pools="paper").eval()
    paper.load_state_dict(released.state_dict())
    clip = released.example_inputs(1, 8, 32)

    with torch.no_grad():
        ours, printed = released.forward_features(*clip), paper.forward_features(*clip)

    assert ours.shape == printed.shape
    assert not torch.allclose(ours, printed)


def test_tsm_shifts_every_block_but_every_second_one_of_very_deep_networks() -> None:
    from models.tsm import TemporalShift

    def shifted(name: str) -> list[str]:
        with torch.device("meta"):
            network = models.get_model(name, 5)
        return [key for key, m in network.named_modules() if isinstance(m, TemporalShift)]

    assert len(shifted("tsm_r50")) == 16
    assert len(shifted("tsm_r18")) == 8
    deep = shifted("tsm_r101")
    assert len(deep) == 2 + 2 + 12 + 2
    assert {"layer3.0.before_conv1", "layer3.22.before_conv1"} < set(deep)
    assert "layer3.1.before_conv1" not in deep
