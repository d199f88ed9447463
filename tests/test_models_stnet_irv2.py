"""StNet on timm's Inception-ResNet-v2: its sizes, its trunk against timm's own, its weights."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from stnet_networks import check_trunk_fills
from torch import nn

import models
from datamodules.data_spec import DataSpec
from lightning_modules.training.initialization import initialize
from models.norm import replace_batch_norms, split_batch_norm
from models.stnet_irv2 import ActivatedBatchNorm2d, StNetIRv2


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def _timm() -> None:
    pytest.importorskip("timm", reason="stnet_irv2 needs the extra timm")


def build_on_meta(**options: object) -> StNetIRv2:
    with torch.device("meta"):
        return StNetIRv2("irv2", 600, **options)  # type: ignore[arg-type]


def test_missing_timm_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"needs the package timm, .* `uv sync --extra timm`"):
        StNetIRv2("irv2", 5)


def test_other_architectures_are_refused() -> None:
    with pytest.raises(ValueError, match="arch is 'r50'; choose irv2"):
        StNetIRv2("r50", 5)


@pytest.mark.usefixtures("_timm")
@pytest.mark.parametrize(
    ("size", "blocks", "millions", "costs"),
    [
        (299, (1, 2), 63.00, (365.95, 102.46)),
        (299, (2, 3), 75.68, (377.30, 105.65)),
        (320, (1, 2), 63.00, (405.74, 113.61)),
        (331, (), 59.14, (412.92, 115.62)),
        (331, (3,), 72.13, (439.20, 122.98)),
        (331, (2,), 62.69, (444.97, 124.59)),
        (331, (1, 2), 63.00, (456.65, 127.86)),
        (331, (2, 3), 75.68, (471.25, 131.95)),
    ],
)
def test_network_has_the_derived_size(
    size: int, blocks: tuple[int, ...], millions: float, costs: tuple[float, float]
) -> None:
    network = build_on_meta(temporal_modeling=blocks)

    assert round(models.count_parameters(network) / 1e6, 2) == millions
    counted = [models.count_macs(network, 5 * t, size) / 1e9 for t in (25, 7)]
    assert counted == pytest.approx(costs, rel=1e-4)


@pytest.mark.usefixtures("_timm")
def test_default_blocks_follow_the_first_two_stages() -> None:
    network = build_on_meta().eval()
    clip = torch.empty(1, 3, 10, 331, 331, device="meta")

    assert list(network.temporal_modeling) == ["1", "2"]
    assert network.forward_trunk(clip).shape == (1, 1536, 2, 9, 9)
    assert network.forward_features(clip).shape == (1, 1024, 2, 1, 1)
    assert network(clip).shape == (1, 600)


@pytest.mark.usefixtures("_timm")
@torch.no_grad()
def test_bare_network_scores_each_frame_as_timm_does() -> None:
    import timm

    trunk = timm.create_model("inception_resnet_v2", num_classes=3).eval()
    network = StNetIRv2(
        "irv2", 3, frames_per_segment=1, temporal_modeling=(), temporal_xception=False
    ).eval()
    names = ["a", "b", "c"]

    report = models.load_weights(
        network, trunk.state_dict(), class_names=names, source_class_names=names
    )

    assert report.new == report.inflated == []
    clip = torch.randn(1, 3, 2, 107, 91)
    maps = trunk.forward_features(clip[0].transpose(0, 1))  # (T, 1536, H', W')
    torch.testing.assert_close(network.forward_trunk(clip), maps.transpose(0, 1)[None])
    expected = trunk.classif(maps.mean((2, 3)).amax(0))[None]
    torch.testing.assert_close(network(clip), expected)


@pytest.mark.usefixtures("_timm")
@pytest.mark.parametrize("training", [True, False])
def test_layers_in_place_of_timms_are_the_same_function(training: bool) -> None:
    from timm.layers import BatchNormAct2d

    theirs = BatchNormAct2d(4, eps=0.001, drop_layer=nn.Dropout)
    nn.init.normal_(theirs.bias)
    kept = copy.deepcopy(theirs)
    ours = replace_batch_norms(theirs, {BatchNormAct2d: ActivatedBatchNorm2d})
    assert isinstance(ours, ActivatedBatchNorm2d)
    assert ours.drop is theirs.drop
    assert ours.act is theirs.act
    x = torch.randn(6, 4, 5, 5)

    results = []
    for layer in (ours, kept):
        torch.manual_seed(0)
        out = layer.train(training)(x)
        out.pow(2).sum().backward()
        results.append([out, layer.weight.grad, *layer.state_dict().values()])

    assert list(ours.state_dict()) == list(kept.state_dict())
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.usefixtures("_timm")
def test_imagenet_weights_fill_the_trunk() -> None:
    import timm

    with torch.device("meta"):
        source = timm.create_model("inception_resnet_v2").state_dict()
    network = build_on_meta()

    check_trunk_fills(network, source, stem="conv2d_1a.conv.weight")


@pytest.mark.usefixtures("_timm")
def test_imagenet_by_name_says_how_to_get_the_file() -> None:
    sentence = r"torchvision has no inception_resnet_v2, .* come from timm; run torch\.save\(timm"
    sentence += r"\.create_model\('inception_resnet_v2', pretrained=True\)\.state_dict\(\), FILE\)"
    with pytest.raises(ValueError, match=sentence):
        initialize(build_on_meta(), "imagenet", list("ab"), DataSpec())


@pytest.mark.usefixtures("_timm")
def test_file_of_timms_weights_is_read(tmp_path: Path) -> None:
    import timm

    network = build_on_meta()
    with torch.device("meta"):
        trunk = timm.create_model("inception_resnet_v2", num_classes=1)
    source = {name: torch.zeros(()).expand(w.shape) for name, w in trunk.state_dict().items()}
    torch.save(source, tmp_path / "irv2.pth")

    report = initialize(
        network, str(tmp_path / "irv2.pth"), [str(i) for i in range(600)], DataSpec()
    )

    assert report.inflated == ["conv2d_1a.conv.weight"]
    assert len(report.loaded) == len(source) - 3


@pytest.mark.usefixtures("_timm")
def test_defaults_are_those_of_the_resnet() -> None:
    network = build_on_meta()

    assert network.super_image_weights == "mean"
    assert network.dropout.p == 0
    layer = nn.Linear(1024, 400)
    network.init_classifier(layer)
    bound = 1536**-0.5  # by the trunk's width, as in StNet
    assert 0.999 * bound < float(layer.weight.detach().abs().max()) <= bound * (1 + 1e-6)
    kernel = torch.randn(32, 3, 3, 3)
    wide = network.adapt_weight(network.stem_weight, kernel, torch.Size((32, 15, 3, 3)))
    assert wide is not None
    torch.testing.assert_close(wide[:, 0], kernel.mean(1) / 5)


@pytest.mark.usefixtures("_timm")
@pytest.mark.parametrize("rule", ["mean", "inflate"])
def test_widened_stem_keeps_the_response_to_a_grey_frame(rule: str) -> None:
    network = build_on_meta(super_image_weights=rule)
    kernel, grey = torch.randn(32, 3, 3, 3), torch.randn(1, 1, 9, 11).expand(1, 3, 9, 11)

    wide = network.adapt_weight(network.stem_weight, kernel, torch.Size((32, 15, 3, 3)))

    assert wide is not None
    torch.testing.assert_close(wide.sum(1), kernel.sum(1), rtol=1e-4, atol=1e-5)
    response = torch.conv2d(grey.repeat(1, 5, 1, 1), wide)
    torch.testing.assert_close(response, torch.conv2d(grey, kernel), rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("_timm")
def test_every_parameter_gets_a_gradient() -> None:
    network = StNetIRv2("irv2", 2, frames_per_segment=2)
    split_batch_norm(network, 2)

    logits = network(torch.randn(2, 3, 8, 75, 75))
    torch.nn.functional.cross_entropy(logits, torch.arange(2)).backward()

    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.usefixtures("_timm")
def test_clip_that_is_too_small_or_short_is_an_error() -> None:
    network = build_on_meta()
    with pytest.raises(ValueError, match=r"\(74, 90\) pixels, .* at least 75; raise size"):
        network(torch.empty(1, 3, 5, 74, 90, device="meta"))
    with pytest.raises(ValueError, match=r"num_frames is 7, .* frames_per_segment=5"):
        network(torch.empty(1, 3, 7, 75, 90, device="meta"))
