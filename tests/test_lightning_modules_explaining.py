"""What `explain` computes: maps, importance, each family's own analysis; against slow forms."""

from pathlib import Path

import numpy as np
import pytest
import torch
from cost_figure_8 import FIGURE_8
from matplotlib.figure import Figure
from torch import Tensor, nn

from datamodules.errors import UserError
from datamodules.flow.coding import ZERO_CODE
from lightning_modules.explaining.along_training import family_items
from lightning_modules.explaining.cam import (
    activation_maps,
    layers_with_maps,
    spread,
    step_scores,
)
from lightning_modules.explaining.clips import _middle_fields
from lightning_modules.explaining.embeddings import nearest_clips, on_a_plane
from lightning_modules.explaining.families import Family, family_of
from lightning_modules.explaining.pictures import colour_flow, heat
from lightning_modules.explaining.similarity_field import (
    logits_without_block,
    motion_field,
    similarities,
)
from lightning_modules.explaining.streams import injected_motion
from lightning_modules.explaining.super_images import channels_won
from lightning_modules.explaining.view_shares import ViewShares, draw_layers, write_shares
from models import VideoNetwork, get_model
from models.adapted import AdaptedNetwork

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = 5
LABELS = torch.tensor([1, 3])


def disturbed(name: str, **options: object) -> VideoNetwork:
    """A network with weights and statistics that are nothing special, in training mode."""
    torch.manual_seed(0)
    network = get_model(name, CLASSES, **options)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.normal_(module.weight, 1.0, 0.1)
    for name in network.classifiers:
        nn.init.normal_(network.get_submodule(name).bias)
    return network


def logits_of(network: VideoNetwork, inputs: tuple[Tensor, ...]) -> Tensor:
    network.eval()
    with torch.no_grad():
        logits = network(*inputs)[range(len(LABELS)), LABELS]
    network.train()
    return logits


def bias_of(network: VideoNetwork) -> Tensor:
    """The classifiers' bias of each clip's class: the mean of both streams' where there are two."""
    biases = [network.get_submodule(name).bias for name in network.classifiers]
    return torch.stack([bias.detach() for bias in biases]).mean(0)[LABELS]


@pytest.mark.parametrize(
    "name", ["cost_b_tiny", "tsn_tiny", "selfy_tsm_tiny", "st_resnet_tiny", "flow_stream_tiny"]
)
def test_maps_of_a_linear_head_add_up_to_the_logit(name: str) -> None:
    network = disturbed(name)
    inputs = network.example_inputs(2, 6, 64)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    maps = activation_maps(network, inputs, LABELS)
    assert maps.is_exact
    total = maps.values.mean((1, 2, 3)) + bias_of(network)
    torch.testing.assert_close(total, logits_of(network, inputs))
    torch.testing.assert_close(maps.streams.sum(0), maps.values)
    assert len(maps.streams) == len(network.modalities)
    steps, channels = step_scores(network, inputs, LABELS)
    torch.testing.assert_close(steps.sum(1), maps.values.mean((1, 2, 3)))
    torch.testing.assert_close(channels.sum(1), steps)
    # nothing of the network has changed
    assert all(module.training for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_cam_is_the_classifiers_weights_on_the_features() -> None:
    network = disturbed("c2d_tiny")
    inputs = network.example_inputs(2, 6, 64)
    maps = activation_maps(network, inputs, LABELS)
    network.eval()
    with torch.no_grad():
        features = network.forward_features(*inputs)
        expected = torch.einsum("bcthw,bc->bthw", features, network.fc.weight[LABELS])
    torch.testing.assert_close(maps.values, expected)


def test_grad_cam_is_the_papers_formula_by_finite_differences() -> None:
    """Selvaraju et al., equations 1 and 2, on the images that StNet's super-images are."""
    network = disturbed("stnet_tiny").double()
    inputs = tuple(x.double() for x in network.example_inputs(2, 6, 32))
    maps = activation_maps(network, inputs, LABELS)
    assert (maps.layer, maps.is_exact) == ("layer3", False)
    network.eval()
    with torch.no_grad():
        trunk = network.forward_trunk(*inputs)  # (B, C, S, H, W)

        def score(x: Tensor) -> Tensor:
            mixed = network.temporal_xception(x.mean((3, 4)))[..., None, None]
            return network.forward_head(mixed)[range(2), LABELS]

        step, weights = 1e-5, torch.zeros(trunk.shape[:3], dtype=torch.float64)
        for channel in range(0, trunk.shape[1], 16):
            for time in range(trunk.shape[2]):
                moved = trunk.clone()
                moved[:, channel, time] += step  # all cells at once: the sum of their gradients
                cells = trunk[0, 0, 0].numel()
                weights[:, channel, time] = (score(moved) - score(trunk)) / step / cells
        network.train()
        part = slice(0, None, 16)
        some = activation_maps(network, inputs, LABELS, "layer3")
        assert torch.equal(some.values, maps.values)
        torch.testing.assert_close(
            _weights_at(network, inputs)[:, part], weights[:, part].float(), rtol=1e-3, atol=1e-6
        )
        full = (_weights_at(network, inputs)[..., None, None] * trunk.float()).sum(1).relu()
    torch.testing.assert_close(maps.values, full)


def _weights_at(network: VideoNetwork, inputs: tuple[Tensor, ...]) -> Tensor:
    """The gradient at layer3, by a plain backward pass, averaged over places."""
    kept: list[Tensor] = []
    handle = network.layer3.register_forward_hook(lambda *args: kept.append(args[2]))
    network.eval()
    with torch.enable_grad():
        score = network(*inputs)[range(2), LABELS].sum()
        gradient = torch.autograd.grad(score, kept[0])[0]
    handle.remove()
    return gradient.mean((3, 4)).float()


def test_hires_cam_is_the_exact_map_where_the_head_is_linear() -> None:
    """Draelos and Carin: what Grad-CAM is without the mean; no more than its positive part."""
    network = disturbed("cost_b_tiny")
    inputs = network.example_inputs(2, 6, 64)
    exact = activation_maps(network, inputs, LABELS)
    found = activation_maps(network, inputs, LABELS, "layer3", "hires_cam")
    cells = exact.values[0].numel()
    torch.testing.assert_close(found.values * cells, exact.values.relu())
    assert (exact.kind, found.kind) == ("CAM", "HiResCAM")
    # further from the head the two methods differ
    one, other = (
        activation_maps(network, inputs, LABELS, "layer1", method).values
        for method in ("grad_cam", "hires_cam")
    )
    assert (one - other).abs().max() > 0.1 * one.max()


def test_steps_that_lose_the_maximum_have_no_map() -> None:
    network = disturbed("stnet_tiny", temporal_xception=False, head_pool="max")
    inputs = network.example_inputs(1, 8, 64)
    maps = activation_maps(network, inputs, LABELS[:1], "layer3")
    won = channels_won(network, inputs)
    assert won.shape == (1, 4)
    network.eval()
    with torch.no_grad():
        vectors = network.forward_features(*inputs).mean((3, 4))[0]
        heard = vectors.amax(1) > 0
        counts = torch.bincount(vectors[heard].argmax(1), minlength=4)
        network.fc.weight[:, vectors.argmax(1) == 2] = 0  # nothing of step 2 counts any more
    torch.testing.assert_close(won[0], counts / len(vectors))
    assert not heard.all()  # some channels are silent, and nobody wins them
    muted = activation_maps(network, inputs, LABELS[:1], "layer3")
    assert muted.values[0, 2].max() == 0 < maps.values[0, 2].max()


def test_layers_are_chosen_and_named() -> None:
    network = disturbed("st_resnet_tiny")
    inputs = network.example_inputs(1, 4, 64)
    names = layers_with_maps(network, inputs)
    assert "flow.layer3" not in names  # whose blocks are run one by one
    assert names[-1] == "flow.layer3.1"
    maps = activation_maps(network, inputs, LABELS[:1], "rgb.layer2.1.bn3")
    assert maps.values.shape == (1, 4, 8, 8)
    with pytest.raises(UserError, match=r"--layer rgb.layer9 gives no maps .* rgb.conv1"):
        activation_maps(network, inputs, LABELS[:1], "rgb.layer9")


class OneStep(nn.Module):
    """A network of one's own that ends with one step of time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 8, (4, 3, 3), padding=(0, 1, 1))
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, clip: Tensor) -> Tensor:
        return self.fc(self.relu(self.conv(clip)).mean((2, 3, 4)))


def test_maps_of_foreign_networks_and_of_one_step() -> None:
    torch.manual_seed(0)
    network = AdaptedNetwork(OneStep(), CLASSES)
    clip = network.example_inputs(2, 4, 16)
    maps = activation_maps(network, clip, LABELS)
    assert (maps.layer, maps.values.shape) == ("module.relu", (2, 1, 16, 16))
    assert maps.same_at_all_times()
    # of a layer that what follows changes in place: the values in front of that
    inside = activation_maps(network, clip, LABELS, "module.conv")
    with torch.no_grad():
        raw = network.module.conv(*clip)
        weights = (network.module.fc.weight[LABELS][:, :, None, None, None] * (raw > 0)) / 256
        expected = (weights.mean((3, 4), keepdim=True) * raw).sum(1).relu()
    torch.testing.assert_close(inside.values, expected)
    (scores,) = step_scores(network, clip, LABELS)[0].T  # one step: all but the bias
    torch.testing.assert_close(scores + network.module.fc.bias[LABELS], logits_of(network, clip))
    with pytest.raises(UserError, match="gives logits alone"):
        step_scores(AdaptedNetwork(nn.Conv3d(3, CLASSES, 3), CLASSES), clip, LABELS)
    still = disturbed("tsn_tiny")
    frames = still.example_inputs(1, 1, 64)[0].expand(-1, -1, 4, -1, -1)
    assert activation_maps(still, (frames,), LABELS[:1]).same_at_all_times()
    moving = still.example_inputs(1, 4, 64)
    assert not activation_maps(still, moving, LABELS[:1]).same_at_all_times()


def test_flow_that_entered_is_shown_in_pixels_and_none_is_white() -> None:
    codes = torch.full((8, 3, 4, 4), ZERO_CODE, dtype=torch.uint8)  # 4 fields of 3 chunks
    assert (colour_flow(_middle_fields(codes, 20.0)) == 255).all()
    codes[4, 1] = 255  # the third field of a stack, to the right
    fields = _middle_fields(codes, 20.0)
    assert fields.shape == (3, 2, 4, 4)
    assert fields[1, 0].unique().item() == pytest.approx(127 * 40 / 255)
    assert fields.abs().sum() == fields[1, 0].sum()
    red = colour_flow(fields)[1, 0, 0].astype(int)
    assert red[0] > red[1] + 100
    assert red[0] > red[2] + 100


def test_maps_are_spread_over_frames_and_drawn_on_one_scale() -> None:
    maps = torch.tensor([1.0, 4.0, 2.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    wide = spread(maps, 6, 8, 8)
    assert wide[0, :, 5, 5].tolist() == [1, 1, 4, 4, 2, 2]
    frames = np.full((6, 8, 8, 3), 100, np.uint8)
    drawn = heat(frames, wide[0], float(maps.max())).astype(int).sum((1, 2, 3))
    assert drawn[0] < drawn[4] < drawn[2]
    assert (heat(frames, -wide[0], 4.0) == heat(frames, 0 * wide[0], 4.0)).all()


@pytest.mark.parametrize(
    ("data", "means"),
    [("kinetics", ("0.77", "0.08", "0.15")), ("moments", ("0.67", "0.14", "0.19"))],
)
def test_figure_8_of_the_paper_gives_its_means(data: str, means: tuple[str, ...]) -> None:
    rows = FIGURE_8[data]
    axes = Figure().subplots()
    draw_layers(axes, np.array(rows))
    written = [text.get_text() for text in axes.get_legend().get_texts()]
    assert written == [f"{v} {m}" for v, m in zip(("H-W", "T-W", "T-H"), means, strict=True)]
    # the areas are stacked in that order: the upper rim of the second is H-W and T-W together
    rim = axes.collections[1].get_paths()[0].vertices
    assert rim[:, 1].max() == pytest.approx(max(row[0] + row[1] for row in rows))


def test_coefficients_set_by_hand_come_out(tmp_path: Path) -> None:
    network = disturbed("cost_a_tiny")
    wanted = [(0.7, 0.2, 0.1), (0.1, 0.3, 0.6), (0.4, 0.25, 0.35)]
    operations = list(network.operations().values())
    for operation, shares in zip(operations, wanted, strict=True):
        with torch.no_grad():
            operation.logits.copy_(torch.tensor(shares).log().expand_as(operation.logits))
    shares = ViewShares(network, CLASSES)
    for _ in range(2):
        shares.add(network.example_inputs(2, 4, 32), LABELS)
    np.testing.assert_allclose(shares.by_layer, wanted, atol=1e-6)
    assert shares.by_channel[0].shape == (len(operations[0].logits), 3)
    assert shares.clips.tolist() == [0, 2, 0, 2, 0]
    np.testing.assert_allclose(shares.by_class[LABELS], 0.6, atol=1e-6)  # of 0.3, 0.9 and 0.6
    assert np.isnan(shares.by_class[0])
    write_shares(tmp_path, shares, [f"class {i}" for i in range(CLASSES)])
    lines = (tmp_path / "view_shares.csv").read_text().splitlines()
    assert lines[-1] == "mean,0.400000,0.250000,0.350000"
    assert not (tmp_path / "view_shares_classes.csv").exists()  # the same for all


def test_shares_of_classes_are_means_over_their_clips(tmp_path: Path) -> None:
    network = disturbed("cost_b_tiny")
    for operation in network.operations().values():
        nn.init.normal_(operation.channel_mixing.weight, std=0.5)
        nn.init.normal_(operation.view_mixing.weight)
    (clip,) = network.example_inputs(3, 4, 32)
    shares = ViewShares(network, 2)
    shares.add((clip[:2],), torch.tensor([1, 0]))
    shares.add((clip[2:],), torch.tensor([1]))
    found = network.coefficients(clip)
    motion = torch.stack([(1 - s[:, :, 0]).mean(1) for s in found.values()]).mean(0)
    np.testing.assert_allclose(shares.by_class, [motion[1], motion[[0, 2]].mean()], rtol=1e-5)
    expected = [s.mean((0, 1)).tolist() for s in found.values()]
    np.testing.assert_allclose(shares.by_layer, expected, rtol=1e-5)
    write_shares(tmp_path, shares, ["still", "moving"])
    rows = [r.split(",") for r in (tmp_path / "view_shares_classes.csv").read_text().splitlines()]
    assert float(rows[1][2]) >= float(rows[2][2])
    assert {(row[0], row[1]) for row in rows[1:]} == {("still", "1"), ("moving", "2")}


def test_similarity_shows_the_motion_of_a_textured_square() -> None:
    """Moved by (dx, dy) cells a frame, for all offsets of the window, through the whole network."""
    network = disturbed("selfy_tsn_tiny", window=5)  # no shift: each frame's features are its own
    cell, side, edge = 8, 14 * 8, 6 * 8
    rng = torch.Generator().manual_seed(0)
    texture = torch.randn(3, edge, edge, generator=rng)
    ahead = network.selfy.offsets.index(1)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            clip = torch.zeros(1, 3, 2, side, side)
            for time in range(2):
                top, left = (4 + dy * time) * cell, (4 + dx * time) * cell
                clip[0, :, time, top : top + edge, left : left + edge] = texture
            field = motion_field(similarities(network, (clip,))[0, 0, :, :, ahead])
            inside = field[:, 6:8, 6:8]  # away from the rim, which sees the background
            expected = torch.tensor([dx, dy], dtype=torch.float32)[:, None, None]
            assert torch.equal(inside, expected.expand_as(inside)), (dx, dy)
            nothing = field[:, 0, 0]  # the background is alike everywhere: no motion
            assert nothing.tolist() == [0, 0]


def test_a_block_is_left_out_for_one_call() -> None:
    network = disturbed("selfy_tsm_tiny")
    inputs = network.example_inputs(2, 4, 64)
    nn.init.ones_(network.selfy.bn.weight)
    without = logits_without_block(network, inputs)
    network.eval()
    with torch.no_grad():
        stem = network.forward_stages(network.forward_stem(*inputs), last=1)
        expected = network.forward_head(network.forward_stages(stem, first=2))
        torch.testing.assert_close(without, expected)
        assert (network(*inputs) - without).abs().max() > 1e-3  # it is back


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rectified": True},
        {"connection": "product"},
        {"links": "direct"},
        {"links": "bidirectional", "temporal_convolutions": False},
    ],
    ids=["sum", "relu", "product", "direct", "both"],
)
def test_injected_motion_is_measured_where_it_enters(options: dict[str, object]) -> None:
    network = disturbed("st_resnet_tiny", **options)
    clip, flow = network.example_inputs(2, 4, 64)
    sizes = injected_motion(network, (clip, flow))
    assert sizes.shape == (2, 3, 4)
    network.eval()
    with torch.no_grad():  # the first stage by hand
        rgb, motion = network.streams()
        first = rgb.stage_blocks(1)[0]
        raw = first.add(rgb.forward_stem(clip))
        base = raw.relu() if network.rectified or network.links == "direct" else raw
        moving = motion.stage_blocks(1)[0](motion.forward_stem(flow))
        change = moving if network.connection == "sum" else base * moving - base
        expected = change.norm(dim=(3, 4)).norm(dim=1) / base.norm(dim=(3, 4)).norm(dim=1)
    torch.testing.assert_close(sizes[:, 0], expected)
    if network.connection == "sum":
        for block in (motion.stage_blocks(stage)[0] for stage in range(1, 4)):
            for part in (block.bn3, *block.downsample[1:]):  # nothing leaves the block
                nn.init.zeros_(part.weight)
                nn.init.zeros_(part.bias)
        assert injected_motion(network, (clip, flow)).abs().max() == 0


@pytest.mark.parametrize("links", ["none", "appearance_to_motion"])
def test_where_no_motion_enters_none_is_shown(links: str, tmp_path: Path) -> None:
    network = disturbed("st_resnet_tiny", links=links)
    inputs = network.example_inputs(2, 4, 64)
    assert injected_motion(network, inputs).abs().max() == 0
    assert family_items(network.eval(), inputs) == {}
    assert type(family_of(network, list("abcdefgh"), tmp_path, torch.softmax)) is Family


def test_planes_and_neighbours() -> None:
    rng = torch.Generator().manual_seed(0)
    places = torch.randn(30, 2, generator=rng) * torch.tensor([5.0, 1.0])
    turned = torch.linalg.qr(torch.randn(8, 8, generator=rng))[0][:2]
    found = on_a_plane(places @ turned + 3)
    for axis in range(2):  # up to the sign
        assert abs(np.corrcoef(found[:, axis], places[:, axis])[0, 1]) > 0.9
    # distances on the plane are those of the features, which lie on one
    ours = torch.pdist(torch.from_numpy(found))
    torch.testing.assert_close(ours, torch.pdist(places).double(), rtol=1e-4, atol=1e-4)
    features = torch.eye(4)
    values, order = nearest_clips(features, torch.tensor([[0.1, 5.0, 2.0, 0.0]]), 2)
    assert order.tolist() == [[1, 2]]
    assert values[0, 0] == pytest.approx(5 / np.sqrt(29.01))
    with pytest.raises(UserError, match="2 clips make no picture"):
        on_a_plane(features[:2])
