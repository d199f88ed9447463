"""ST-ResNet's two changes taken apart: links of every direction, convolutions over time or none."""

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from st_resnet_networks import build
from test_models_st_resnet import Weights, branch, build_on_meta, first_unit, norm, randomize
from torch import Tensor, nn

import models
from models.st_resnet import Links

LINKS: tuple[Links, ...] = (
    "motion_to_appearance",
    "appearance_to_motion",
    "bidirectional",
    "direct",
    "none",
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# --- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("links", LINKS)
def test_links_have_no_parameters(links: Links) -> None:
    assert models.count_parameters(build_on_meta(links=links)) == 58_624_394
    assert models.count_parameters(build_on_meta(links=links, connection="product")) == 49_572_234


@pytest.mark.parametrize("links", LINKS)
def test_without_convolutions_over_time_the_size_is_that_of_two_streams(links: Links) -> None:
    network = build_on_meta(links=links, temporal_convolutions=False)

    assert models.count_parameters(network) == 47_483_274
    assert [models.count_parameters(s) for s in network.streams()] == [23_714_981, 23_768_293]
    assert round(models.count_macs(network, 1, 224) / 1e9, 4) == 8.3810
    assert not any(isinstance(module, nn.Conv3d) for module in network.modules())
    network.reset_classifier(51)
    assert models.count_parameters(network) == 47_278_374


def test_two_more_taps_are_what_the_convolutions_over_time_add() -> None:
    kernels = [(64, 256), (128, 512), (256, 1024), (512, 2048)]
    taps = sum(2 * 2 * narrow * wide for narrow, wide in kernels)  # two more, of two kernels
    assert taps == 5_570_560
    assert 58_624_394 - 2 * taps == 47_483_274


# --- the equations, written out ----------------------------------------------------------------


def joined(connection: str, one: Tensor, other: Tensor) -> Tensor:
    return one + other if connection == "sum" else one * other


def equations(
    weights: Weights, options: Mapping[str, object], clip: Tensor, flow: Tensor
) -> list[Tensor]:
    """Scores of the chunks of one clip, two tensors (T, K), for every kind of links."""
    links, connection = options.get("links"), str(options.get("connection", "sum"))
    streams = [
        {k.removeprefix(f"{s}."): v for k, v in weights.items() if k.startswith(f"{s}.")}
        for s in ("rgb", "flow")
    ]
    x = [
        F.relu(norm(w, "bn1", F.conv2d(v[0].transpose(0, 1), w["conv1.weight"], None, 4, 2)))
        for w, v in zip(streams, (clip, flow), strict=True)
    ]
    for stage in (1, 2, 3):
        a, m = (first_unit(w, stage, v, "1x1") for w, v in zip(streams, x, strict=True))
        fa, fm = F.relu(a), F.relu(m)
        a, m = (fa, fm) if options.get("rectified") else (a, m)
        into_a, into_m = joined(connection, a, fm), joined(connection, m, fa)
        z = joined(connection, fa, fm)
        # shortcut and input of the residual branch, of appearance and of motion
        given = {
            "motion_to_appearance": ((fa, into_a), (fm, fm)),
            "appearance_to_motion": ((fa, fa), (fm, into_m)),
            "bidirectional": ((fa, into_a), (fm, into_m)),
            "direct": ((z, z), (fm, fm)),
            "none": ((fa, fa), (fm, fm)),
        }[str(links)]
        x = [
            F.relu(shortcut + branch(w, f"layer{stage}.1", enters))
            for w, (shortcut, enters) in zip(streams, given, strict=True)
        ]
    pairs = zip(streams, x, strict=True)
    return [F.linear(v.mean((2, 3)), w["fc.weight"], w["fc.bias"]) for w, v in pairs]


@pytest.mark.parametrize(
    "options",
    [
        {"links": links, "connection": connection, "temporal_convolutions": temporal}
        for links in LINKS
        for connection in ("sum", "product")
        for temporal in (True, False)
        if (links, connection, temporal) != ("none", "product", False)
    ]
    + [{"links": links, "rectified": True} for links in ("appearance_to_motion", "bidirectional")],
    ids=lambda options: "-".join(str(value) for value in options.values()),
)
def test_links_follow_their_equations(options: dict[str, object]) -> None:
    network = build(**options).double()
    randomize(network)
    inputs = network.example_inputs(1, 3, 32)

    with torch.no_grad():
        scores = network.forward_streams(*inputs)
        expected = equations(network.state_dict(), options, *inputs)

    for ours, theirs in zip(scores, expected, strict=True):
        torch.testing.assert_close(ours[0], theirs, rtol=1e-9, atol=1e-9)


def test_links_differ_from_each_other() -> None:
    networks = [build(links=links) for links in LINKS]
    for network in networks:
        network.load_state_dict(networks[0].state_dict())
    inputs = networks[0].example_inputs(1, 3, 32)
    with torch.no_grad():
        logits = torch.cat([network(*inputs) for network in networks])
    assert torch.pdist(logits).min() > 1e-4


# --- taken apart -------------------------------------------------------------------------------


def test_without_either_it_is_the_two_streams() -> None:
    plain = models.get_model("two_stream_tiny", 5).eval()
    randomize(plain)
    network = build(links="none", temporal_convolutions=False)
    network.load_state_dict(plain.state_dict())
    inputs = plain.example_inputs(2, 3, 64)

    with torch.no_grad():
        assert torch.equal(network(*inputs), plain(*inputs))


@pytest.mark.parametrize("connection", ["sum", "product"])
def test_without_links_each_stream_is_as_it_would_be_alone(connection: str) -> None:
    network = build(links="none", connection=connection)
    inputs = network.example_inputs(2, 3, 64)

    with torch.no_grad():
        scores = network.forward_streams(*inputs)
        alone = [
            stream.score_chunks(stream.forward_features(x))
            for stream, x in zip(network.streams(), inputs, strict=True)
        ]

    for ours, theirs in zip(scores, alone, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("links", LINKS)
def test_links_alone_are_the_network_whose_outer_taps_are_zero(links: Links) -> None:
    alone = build(links=links, temporal_convolutions=False).double()
    randomize(alone)
    both = build(links=links).double()
    state = alone.state_dict()
    for name, value in both.state_dict().items():
        if value.ndim == 5:
            middle = torch.zeros_like(value)
            middle[:, :, 1] = state[name]
            state[name] = middle
    both.load_state_dict(state)
    inputs = alone.example_inputs(2, 4, 32)
    order = [2, 0, 3, 1]

    with torch.no_grad():
        scores, others = alone.forward_streams(*inputs), both.forward_streams(*inputs)
        permuted = alone.forward_streams(*(x[:, :, order] for x in inputs))

    for ours, theirs, moved in zip(scores, others, permuted, strict=True):
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(ours[:, order], moved)  # each chunk is scored alone


def test_convolutions_over_time_start_from_a_network_without_them() -> None:
    source = build(temporal_convolutions=False)
    network = build()

    report = models.load_weights(network, source.state_dict())

    names = [
        f"{stream}.layer{stage}.1.conv{conv}.weight"
        for stream in ("rgb", "flow")
        for stage in (1, 2, 3)
        for conv in (1, 3)
    ]
    assert sorted(report.inflated) == sorted(names)
    for name in names:
        for tap in network.state_dict()[name].unbind(2):
            torch.testing.assert_close(tap, source.state_dict()[name] / 3)
    with pytest.raises(ValueError, match=r"fit nowhere: .*layer1\.1\.conv1\.weight"):
        models.load_weights(source, network.state_dict())


# --- what passes where -------------------------------------------------------------------------


@pytest.mark.parametrize("connection", ["sum", "product"])
@pytest.mark.parametrize(
    ("links", "motion_learns", "appearance_learns"),
    [
        ("motion_to_appearance", True, False),
        ("appearance_to_motion", False, True),
        ("bidirectional", True, True),
        ("direct", True, False),
        ("none", False, False),
    ],
)
def test_losses_reach_the_streams_that_are_linked(
    links: Links, motion_learns: bool, appearance_learns: bool, connection: str
) -> None:
    """Whether motion learns from the loss of appearance, and appearance from that of motion."""
    network = build(links=links, connection=connection)
    losses = [s.square().sum() for s in network.forward_streams(*network.example_inputs(1, 2, 32))]
    names = ("rgb", "flow")
    kernels = [network.get_submodule(name).get_parameter("conv1.weight") for name in names]

    reached = [
        [
            gradient is not None and bool(gradient.abs().max() > 0)
            for gradient in torch.autograd.grad(loss, kernels, retain_graph=True, allow_unused=True)
        ]
        for loss in losses
    ]

    assert reached == [[True, motion_learns], [appearance_learns, True]]


@pytest.mark.parametrize(("links", "carried"), [("direct", True), ("motion_to_appearance", False)])
def test_only_a_direct_link_goes_over_the_shortcut(links: Links, carried: bool) -> None:
    """Without what the residual branches add, the shortcut is all that motion could take."""
    network = build(links=links)
    for stage in (1, 2, 3):
        norm_of_branch = network.get_submodule(f"rgb.layer{stage}.1.bn3")
        for part in (norm_of_branch.weight, norm_of_branch.bias):
            nn.init.zeros_(part)
    clip, flow = network.example_inputs(1, 2, 32)

    with torch.no_grad():
        scores, other = (network.forward_streams(clip, x)[0] for x in (flow, flow.flip(0, 1)))

    assert torch.equal(scores, other) != carried


@pytest.mark.parametrize("links", LINKS)
def test_every_weight_learns(links: Links) -> None:
    network = build(links=links, temporal_convolutions=False, star=True, star_pool="mean").train()

    network(*network.example_inputs(2, 5, 32)).square().sum().backward()

    assert all(parameter.grad is not None for parameter in network.parameters())
