"""Loading weights: 2D as they are, temporal kernels inflated, classifiers by class name."""

import re
from pathlib import Path

import pytest
import torch
import torchvision.models
from torch import Tensor

import models
from models.layers import VideoNetwork
from models.weights import as_state_dict
from models.weights_file import read_weights_file


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def resnet18() -> dict[str, Tensor]:
    """A torchvision state dict with weights unlike anything newly initialised."""
    state_dict = torchvision.models.resnet18().state_dict()
    return {k: torch.randn_like(v) if v.is_floating_point() else v for k, v in state_dict.items()}


@pytest.fixture(scope="module")
def tiny_2d() -> dict[str, Tensor]:
    """Weights of a 2D network whose blocks are bottlenecks."""
    torch.manual_seed(1)
    return models.get_model("c2d_tiny", 7).state_dict()


def assert_complete(
    report: models.WeightReport, network: VideoNetwork, source: dict[str, Tensor]
) -> None:
    """Every source key in one list; every weight of the network is covered or new."""
    placed = [*report.loaded, *report.inflated, *report.skipped]
    assert sorted(placed) == sorted(source)
    got = {*report.loaded, *report.inflated}
    assert sorted(report.new) == sorted(set(network.state_dict()) - got)


@pytest.mark.parametrize("name", ["c2d_r18", "tsm_r18"])
def test_torchvision_weights_load_as_they_are(name: str, resnet18: dict[str, Tensor]) -> None:
    network = models.get_model(name, 5)
    fc = network.fc.weight.detach().clone()

    report = models.load_weights(network, resnet18)

    assert_complete(report, network, resnet18)
    assert report.inflated == []
    assert list(report.skipped) == report.new == ["fc.weight", "fc.bias"]
    own = network.state_dict()
    assert all(torch.equal(own[key], resnet18[key]) for key in report.loaded)
    assert torch.equal(network.fc.weight, fc)


def test_pretrained_trunk_gives_torchvisions_features(resnet18: dict[str, Tensor]) -> None:
    """The same pixels give the same numbers, so the stem, strides and paddings agree too."""
    reference = torchvision.models.resnet18().eval()
    network = models.get_model("tsn_r18", 1000).eval()
    names = [str(i) for i in range(1000)]
    own = reference.state_dict()

    models.load_weights(network, own, class_names=names, source_class_names=names)
    clip = torch.randn(1, 3, 2, 64, 64)
    with torch.no_grad():
        expected = torch.stack([reference(clip[:, :, t]) for t in range(2)]).mean(0)
        torch.testing.assert_close(network(clip), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "inflated", "new"),
    [
        ("cost_a_tiny", [], ["logits"]),
        ("cost_b_tiny", [], ["channel_mixing.weight", "view_mixing.weight"]),
        ("c3d_tiny", ["conv1"], []),
        ("c3d_3x3x3_tiny", ["conv2"], []),
    ],
)
def test_2d_weights_reach_every_family(
    name: str, inflated: list[str], new: list[str], tiny_2d: dict[str, Tensor]
) -> None:
    network = models.get_model(name, 5)

    report = models.load_weights(network, tiny_2d)

    assert_complete(report, network, tiny_2d)
    blocks = [f"layer{stage}.0" for stage in (1, 2, 3)]
    assert report.inflated == [f"{block}.{conv}.weight" for block in blocks for conv in inflated]
    expected_new = [f"{block}.conv2.{part}" for block in blocks for part in new]
    assert report.new == [*expected_new, "fc.weight", "fc.bias"]
    own = network.state_dict()
    for key in report.inflated:
        kernel = own[key]
        torch.testing.assert_close(kernel.sum(2), tiny_2d[key])
        assert all(torch.equal(kernel[:, :, t], tiny_2d[key] / 3) for t in range(3))


def test_unshared_bank_gets_the_2d_kernel_in_every_view(tiny_2d: dict[str, Tensor]) -> None:
    network = models.get_model("cost_b_tiny", 5, shared=False)

    report = models.load_weights(network, tiny_2d)

    key = "layer2.0.conv2.weight"
    assert key in report.inflated
    assert all(torch.equal(bank, tiny_2d[key]) for bank in network.state_dict()[key])


def test_long_stem_repeats_and_divides_by_five(tiny_2d: dict[str, Tensor]) -> None:
    network = models.get_model("c2d_tiny", 5, stem="32_frames")

    report = models.load_weights(network, tiny_2d)

    assert report.inflated == ["conv1.weight"]
    kernel = network.state_dict()["conv1.weight"]
    assert kernel.shape[2] == 5
    assert all(torch.equal(kernel[:, :, t], tiny_2d["conv1.weight"] / 5) for t in range(5))


def test_classifier_rows_follow_the_class_names(tiny_2d: dict[str, Tensor]) -> None:
    network = models.get_model("tsn_tiny", 3)
    fresh = network.fc.weight.detach().clone()

    report = models.load_weights(
        network,
        tiny_2d,
        class_names=["run", "fly", "sit"],
        source_class_names=["sit", "a", "b", "c", "run", "d", "e"],
    )

    assert_complete(report, network, tiny_2d)
    assert report.matched_classes == 2
    assert report.skipped == {}
    assert torch.equal(network.fc.weight[0], tiny_2d["fc.weight"][4])
    assert torch.equal(network.fc.weight[2], tiny_2d["fc.weight"][0])
    assert torch.equal(network.fc.weight[1], fresh[1])
    assert torch.equal(network.fc.bias[2], tiny_2d["fc.bias"][0])


@pytest.mark.parametrize(
    ("names", "reason"),
    [(None, "class names not given"), (list("tuvwxyz"), "classifier of other classes")],
)
def test_equally_wide_classifier_of_other_classes_is_skipped(
    names: list[str] | None, reason: str, tiny_2d: dict[str, Tensor]
) -> None:
    network = models.get_model("c2d_tiny", 7)

    report = models.load_weights(
        network, tiny_2d, class_names=list("abcdefg"), source_class_names=names
    )

    assert_complete(report, network, tiny_2d)
    assert report.matched_classes == 0
    assert all(reason in report.skipped[key] for key in ("fc.weight", "fc.bias"))
    assert not torch.equal(network.fc.weight, tiny_2d["fc.weight"])


@pytest.mark.parametrize(
    ("classes", "source_classes", "message"),
    [
        (["a"], ["a"] * 1, "class_names has 1 names for a network of 3 classes"),
        (["a", "b", "b"], list("abcdefg"), "class_names holds 1: b more than once"),
        (["a", "b", "c"], list("abcdefa"), "source_class_names holds 1: a more than once"),
        (["a", "b", "c"], list("abcd"), r"fc.weight of the source is \(7, \d+\), where 4"),
    ],
)
def test_class_names_that_do_not_agree_are_an_error(
    classes: list[str], source_classes: list[str], message: str, tiny_2d: dict[str, Tensor]
) -> None:
    network = models.get_model("c2d_tiny", 3)
    with pytest.raises(ValueError, match=message):
        models.load_weights(
            network, tiny_2d, class_names=classes, source_class_names=source_classes
        )


def test_misfits_are_an_error_and_change_nothing(tiny_2d: dict[str, Tensor]) -> None:
    network = models.get_model("c2d_tiny", 5)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    wrong = {**tiny_2d, "bn1.weight": torch.zeros(3), "layer9.conv.weight": torch.zeros(1)}

    with pytest.raises(ValueError, match=r"2: bn1.weight \(3,\) for \(16,\), layer9.conv.weight"):
        models.load_weights(network, wrong)

    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_weight_given_under_two_names_is_an_error() -> None:
    """A 2D name goes to every stream, also to one whose own weights are there."""
    network = models.get_model("two_stream_tiny", 5)
    own = network.state_dict()
    twice = {**own, "bn1.weight": own["rgb.bn1.weight"], "fc.bias": own["rgb.fc.bias"]}

    with pytest.raises(ValueError, match=r"4: rgb.bn1.weight \(given twice\), flow.bn1.weight"):
        models.load_weights(network, twice)


def test_weights_of_a_shallower_network_are_an_error(resnet18: dict[str, Tensor]) -> None:
    """Every key of an R18 fits an R34; only what is missing tells them apart."""
    network = models.get_model("c2d_r34", 5)
    with pytest.raises(ValueError, match=r"smaller or another network; they lack .*layer1.2"):
        models.load_weights(network, resnet18)


def stream_weights(*names: str) -> dict[str, Tensor]:
    """Weights of streams as they are trained alone."""
    merged: dict[str, Tensor] = {}
    for name in names:
        merged |= models.get_model(f"{name}_stream_tiny", 5).state_dict()
    return merged


def temporal_names(*convs: str) -> list[str]:
    return sorted(
        f"{s}.layer{i}.1.{c}.weight" for s in ("rgb", "flow") for i in (1, 2, 3) for c in convs
    )


def test_checkpoints_of_both_streams_load_together() -> None:
    source = stream_weights("rgb", "flow")
    network = models.get_model("st_resnet_tiny", 5)

    report = models.load_weights(
        network, source, class_names=list("abcde"), source_class_names=list("abcde")
    )

    assert sorted(report.inflated) == temporal_names("conv1", "conv3")
    assert report.new == []
    assert report.skipped == {}
    assert sorted(report.loaded + report.inflated) == sorted(source)
    own = network.state_dict()
    for key in report.inflated:
        assert all(torch.equal(own[key][:, :, t], source[key] / 3) for t in range(3))


@pytest.mark.parametrize(("one", "lacking"), [("rgb", "flow"), ("flow", "rgb")])
def test_checkpoint_of_one_stream_is_not_enough(one: str, lacking: str) -> None:
    with pytest.raises(ValueError, match=f"they lack .*{lacking}.conv1.weight"):
        models.load_weights(models.get_model("st_resnet_tiny", 5), stream_weights(one))


def test_star_has_the_weights_of_st_resnet() -> None:
    plain, star = (models.get_model("st_resnet_tiny", 5, star=star) for star in (False, True))

    report = models.load_weights(star, plain.state_dict())

    assert report.inflated == []
    assert sorted(report.skipped) == sorted(report.new)
    star.load_state_dict(plain.state_dict())


def test_product_keeps_the_streams_and_adds_identities() -> None:
    source = stream_weights("rgb", "flow")
    network = models.get_model("st_resnet_tiny", 5, connection="product")

    report = models.load_weights(
        network, source, class_names=list("abcde"), source_class_names=list("abcde")
    )

    assert report.inflated == []
    assert sorted(report.new) == temporal_names("conv2.temporal")
    for key in report.new:
        kernel = network.state_dict()[key][..., 0, 0]
        assert torch.equal(kernel[..., 1], torch.eye(len(kernel)))
        assert torch.count_nonzero(kernel[..., ::2]) == 0


@pytest.mark.parametrize(
    ("name", "inflated"),
    [
        ("rgb_stream_r50", []),
        ("flow_stream_r50", ["flow.conv1.weight"]),
        ("two_stream_r50", ["flow.conv1.weight"]),
        ("st_resnet_r50", ["flow.conv1.weight", r"(rgb|flow).layer[1-4].1.conv[13].weight"]),
    ],
)
def test_torchvisions_names_reach_every_network(name: str, inflated: list[str]) -> None:
    """Names and shapes alone, of the whole R50."""
    with torch.device("meta"):
        source = torchvision.models.resnet50().state_dict()
        network = models.get_model(name, 101)

    report = models.load_weights(network, source)

    streams = len(network.modalities)
    placed = [*report.loaded, *report.inflated, *report.skipped]
    assert len(placed) == len(set(placed)) == streams * len(source)
    assert all(any(re.fullmatch(p, key) for p in inflated) for key in report.inflated)
    assert len(report.inflated) == len(inflated[:1]) + 16 * len(inflated[1:])
    assert sorted(report.new) == sorted(report.skipped)
    assert len(report.skipped) == 2 * streams
    assert network.pretrained_arch == "resnet50"


def test_report_counts_and_abbreviates(tiny_2d: dict[str, Tensor]) -> None:
    report = models.load_weights(models.get_model("cost_a_tiny", 5), tiny_2d)

    lines = str(report).splitlines()
    assert [line.split()[0] for line in lines] == ["loaded", "inflated", "skipped", "new"]
    assert f"{len(report.loaded)}: conv1.weight" in lines[0]
    assert f"and {len(report.loaded) - 4} more" in lines[0]
    assert lines[1].split() == ["inflated", "0"]
    assert "fc.weight (classifier, class names not given on both sides)" in lines[2]
    assert "5: layer1.0.conv2.logits" in lines[3]


def read_state_dict(path: Path | str) -> dict[str, Tensor]:
    return as_state_dict(read_weights_file(path), path)


def test_imagenet_weights_come_from_a_local_file(
    tmp_path: Path, tiny_2d: dict[str, Tensor]
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(tiny_2d, path)

    read = read_state_dict(path)

    assert read.keys() == tiny_2d.keys()
    assert all(torch.equal(read[key], tiny_2d[key]) for key in read)


def test_sources_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    files = {
        "page.pth": b"<html>not found</html>",
        "empty.pth": b"",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is not a checkpoint or weights file"):
            read_state_dict(tmp_path / name)
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"not a state dict: 2: state_dict, epoch name no tensor"):
        read_state_dict(tmp_path / "run.pt")
    torch.save({0: torch.zeros(1)}, tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"not a state dict: 1: 0 name no tensor"):
        read_state_dict(tmp_path / "list.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"holds a list, not a state dict"):
        read_state_dict(tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"there is no file .*absent.pth"):
        read_state_dict(tmp_path / "absent.pth")
    with pytest.raises(ValueError, match=r"https://example.org/w.pth is an address"):
        read_state_dict("https://example.org/w.pth")
    with pytest.raises(ValueError, match=r"torchvision has no resnet49, whose .* from timm"):
        models.imagenet_state_dict("resnet49")


@pytest.mark.parametrize(
    ("name", "dropped"),
    [
        ("cost_b_tiny", "layer2.0.conv2.view_mixing.weight"),
        ("selfy_tsm_tiny", "selfy.bn.running_var"),
        ("selfy_tsn_tiny", "selfy.reduce.0.weight"),
    ],
)
def test_a_part_of_a_familys_own_weights_is_an_error(name: str, dropped: str) -> None:
    source = models.get_model(name, 5).state_dict()
    del source[dropped]
    network = models.get_model(name, 5)
    before = {key: value.clone() for key, value in network.state_dict().items()}

    with pytest.raises(ValueError, match=rf"the weights hold .* but lack 1: {dropped}; give all"):
        models.load_weights(network, source)

    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["layer1.0.conv1.weight", "bn1.running_var", "fc.bias"])
def test_weights_that_are_not_finite_are_an_error(key: str, bad: float) -> None:
    source = models.get_model("c3d_tiny", 5).state_dict()
    network = models.get_model("c3d_tiny", 5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    source[key].view(-1)[-1] = bad

    with pytest.raises(ValueError, match=rf"NaN or infinite values, in 1: {key}; give"):
        models.load_weights(
            network, source, class_names=list("abcde"), source_class_names=list("abcde")
        )

    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_classifier_that_is_left_out_may_hold_anything(tiny_2d: dict[str, Tensor]) -> None:
    source = {**tiny_2d, "fc.bias": torch.full((7,), torch.nan)}

    report = models.load_weights(models.get_model("c2d_tiny", 5), source)

    assert "fc.bias" in report.skipped
