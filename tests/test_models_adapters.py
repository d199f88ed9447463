"""Networks of other libraries: the contract, their clips and options."""

import sys
from typing import Any

import pytest
import torch
from library_networks import (
    CLASSES,
    FRAMES,
    NETWORKS,
    SIZE,
    TUBELETS,
    VIDEOMAE,
    VIT,
    VJEPA2,
    build,
    clips,
)
from torch import Tensor, nn

from datamodules import FrameSampler, UserError
from datamodules.clips.crops import Crops
from datamodules.clips.input_spec import InputSpec, Normalization
from lightning_modules import VideoClassifier
from lightning_modules.explaining.cam import activation_maps, step_scores
from lightning_modules.exporting.graphs import capture
from models import VideoNetwork, count_macs, get_model
from models.adapted import AdaptedNetwork

pytest.importorskip("timm", reason="needs the extra `timm`")
transformers = pytest.importorskip("transformers", reason="needs the extra `transformers`")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def check_contract(network: VideoNetwork, clip: Tensor) -> None:
    """Logits are the head's of features in five axes."""
    assert network.has_features
    network.eval()
    with torch.no_grad():
        logits, features = network(clip), network.forward_features(clip)
        again = network.forward_head(features)
    assert logits.shape == (len(clip), network.num_classes)
    assert logits.isfinite().all()
    assert features.ndim == 5
    assert features.shape[:2] == (len(clip), network.num_features)
    torch.testing.assert_close(again, logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_network_keeps_the_contract(name: str) -> None:
    network = build(name, **NETWORKS[name])
    clip = clips(network)
    check_contract(network, clip)
    assert all(key.startswith("module.") for key in network.state_dict())
    assert count_macs(network, FRAMES, SIZE) > 0
    (classifier,) = network.classifiers
    before = network.get_submodule(classifier)
    network.reset_classifier(7)
    assert network.get_submodule(classifier) is not before
    check_contract(network, clip)
    assert network.num_classes == 7
    network.train()(clip).sum().backward()
    assert all(p.grad is not None for p in network.get_submodule(classifier).parameters())
    with torch.device("meta"):
        network = build(name, **NETWORKS[name])
    assert network(clips(network)).shape == (2, CLASSES)


def test_last_pooling_of_s3d_is_in_its_features() -> None:
    network = build("torchvision:s3d", dropout=0.4).eval()
    with torch.no_grad():
        features = network.forward_features(network.example_inputs(1, 13, 209)[0])
    assert features.shape == (1, 1024, 1, 1, 1)
    with pytest.raises(ValueError, match=r"takes clips of at least num_frames=13 and .*=209"):
        network(network.example_inputs(1, 13, 208)[0])


def test_mvit_takes_clips_of_one_size() -> None:
    with torch.device("meta"):
        network = build("torchvision:mvit_v2_s", dropout=0.4).eval()
        clip = network.example_inputs(2, 16, 224)[0]
    assert network.module.head[0].p == 0.4
    features = network.forward_features(clip)
    assert features.shape == (2, 768, 1, 1, 1)
    assert network.forward_head(features).shape == network(clip).shape == (2, CLASSES)
    with pytest.raises(ValueError, match="of temporal_size=16 and spatial_size=224, and got 8"):
        network(clip[:, :, :8])


@pytest.mark.parametrize("name", ["timm:resnet10t", "timm:vit_tiny_patch16_224"])
def test_frames_of_timm_are_scored_alone(name: str) -> None:
    network = build(name, **NETWORKS.get(name, {})).eval()
    clip = clips(network)
    with torch.no_grad():
        features = network.forward_features(clip)
        torch.testing.assert_close(network(clip.flip(2)), network(clip))
        frames = torch.stack([network.module(clip[:, :, t]) for t in range(FRAMES)])
    assert features.shape == (2, network.num_features, FRAMES, 1, 1)
    torch.testing.assert_close(frames.mean(0), network(clip))


@pytest.mark.parametrize("name", ["torchvision:mc3_18", "transformers:videomae"])
def test_order_of_frames_counts_for_networks_of_videos(name: str) -> None:
    network = build(name, **NETWORKS[name]).eval()
    nn.init.normal_(network.get_submodule(network.classifiers[0]).weight)
    clip = clips(network)
    with torch.no_grad():
        assert (network(clip.flip(2)) - network(clip)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("torchvison:r3d_18", {}, "no library 'torchvison' .* did you mean torchvision"),
        ("mmaction:tsm", {}, "no library 'mmaction' .* the libraries are torchvision, timm"),
        ("torchvision:r3d18", {}, "no video network 'r3d18'; did you mean r3d_18"),
        ("torchvision:resnet18", {}, "torchvision has no video network 'resnet18'"),
        ("timm:resnet_18", {}, "timm has no network 'resnet_18'; did you mean .*resnet18"),
        ("timm:hf-hub:timm/resnet18", {}, "timm has no network 'hf-hub:timm/resnet18'"),
        ("timm:resnet18.nobodys", {}, "cannot be built .*nvalid pretrained tag .nobodys"),
        ("transformers:videomea", {}, "no network 'videomea' .* did you mean videomae"),
        ("transformers:bert", {}, "no network 'bert' that classifies videos; it has timesformer"),
        ("torchvision:r3d_18", {"dropout": 0.5}, "r3d_18 has no option dropout"),
        ("torchvision:r3d_18", {"weights": "DEFAULT"}, "weights is no option of it; set model"),
        ("torchvision:mvit_v2_s", {"spatial_size": 32}, "mvit_v2_s has no option spatial_size"),
        ("timm:resnet10t", {"dropot": 0.5}, "timm:resnet10t has no option dropot"),
        ("timm:resnet10t", {"pretrained": True}, "pretrained is no option of it"),
        ("transformers:videomae", {"hiden_size": 8}, "no option hiden_size; did you mean hidden_s"),
        ("transformers:videomae", {"dropout": 0.5}, "option dropout; did you mean .*dropout_prob"),
        ("transformers:videomae", {"num_labels": 3}, "no option num_labels"),
        ("transformers:videomae", {"attn_implementation": "x/y"}, "no option attn_implementation"),
        ("transformers:videomae", {"config": {"model_type": "bert"}}, "of the kind bert, which"),
        ("transformers:videomae", {"hidden_size": 15}, r"cannot be built .* \(.*15"),
    ],
)
def test_mistakes_are_told_in_a_sentence(name: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        VideoClassifier(name, num_classes=3, network_kwargs=options)
    assert "\n" not in str(caught.value)


def test_repository_that_cannot_be_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", refuse)
    with pytest.raises(ValueError, match=r"owner/name has no config that .* \(no route to host\)"):
        get_model("transformers:owner/name", 3)


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_missing_library_names_its_extra(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ValueError, match=rf"needs the package {library}, .* --extra {library}`"):
        get_model(f"{library}:anything", 3)


@pytest.mark.parametrize(
    ("name", "options", "shape", "sentence"),
    [
        (*VIDEOMAE, (6, 32), r"takes clips of num_frames=4 and image_size=32, and got 6 frames"),
        (*VIDEOMAE, (4, 48), r"image_size=32, and got 4 frames of 48 x 48 pixels; give such clips"),
        ("transformers:vivit", TUBELETS, (6, 32), "num_frames=4 and image_size=32"),
        ("transformers:vjepa2", VJEPA2, (4, 48), "takes clips of crop_size=32, and got"),
        ("timm:vit_tiny_patch16_224", VIT, (4, 48), "takes clips of img_size=32, and got"),
    ],
)
def test_wrong_clips_are_told_in_a_sentence(
    name: str, options: dict[str, Any], shape: tuple[int, int], sentence: str
) -> None:
    module = VideoClassifier(name, num_classes=3, network_kwargs=options)
    for call in (module, module.network.forward_features):
        with pytest.raises(ValueError, match=sentence):
            call(module.network.example_inputs(1, *shape)[0])


@pytest.mark.parametrize("name", ["transformers:timesformer", "torchvision:swin3d_t"])
def test_networks_without_a_size_take_any_clip(name: str) -> None:
    network = build(name, **NETWORKS[name]).eval()
    with torch.no_grad():
        assert network(network.example_inputs(1, 6, 64)[0]).shape == (1, CLASSES)


class Scaled(nn.Module):
    """Somebody's network, whose logits are divided by a temperature behind the classifier."""

    def __init__(self, temperature: float = 1.0, parts: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 8, 3)
        self.fc = nn.Linear(8, CLASSES)
        self.temperature = temperature
        self.parts = parts

    def forward(self, clip: Tensor) -> Tensor:
        maps = self.conv(clip)
        if self.parts:
            return self.fc(maps.mean((3, 4)).transpose(1, 2)).mean(1)
        return self.fc(maps.mean((2, 3, 4))) / self.temperature


def test_features_of_own_networks_are_what_the_classifier_gets() -> None:
    for module, steps in ((Scaled(), 1), (Scaled(parts=True), 2)):
        network = AdaptedNetwork(module, CLASSES)
        check_contract(network, clips(network))
        assert network.forward_features(clips(network)).shape == (2, 8, steps, 1, 1)
        assert not module.fc._forward_pre_hooks
    head = nn.Sequential(nn.Conv3d(3, 8, 3), nn.Conv3d(8, CLASSES, 1))
    network = AdaptedNetwork(nn.Sequential(head, nn.AdaptiveAvgPool3d(1), nn.Flatten()), CLASSES)
    check_contract(network, clips(network))
    assert network.num_features == 8


def test_classifier_that_is_not_the_end_gives_no_features() -> None:
    network = AdaptedNetwork(Scaled(2.0), CLASSES)
    with pytest.raises(ValueError, match="are not what its layer fc gives, nor the mean of it"):
        network.forward_features(clips(network))
    unknown = AdaptedNetwork(nn.Sequential(nn.Conv3d(3, CLASSES, 3)), CLASSES)
    assert not unknown.has_features
    assert unknown.classifiers == ()
    with pytest.raises(ValueError, match="the classifier of a Sequential cannot be replaced"):
        unknown.reset_classifier(3)
    for ask in (unknown.forward_features, unknown.forward_head):
        with pytest.raises(ValueError, match="no layer of this Sequential is known as its class"):
            ask(clips(network))


def test_maps_are_shown_where_layers_have_places() -> None:
    network = build("torchvision:mc3_18")
    labels = torch.tensor([1, 3])
    maps = activation_maps(network, (clips(network),), labels)
    assert maps.values.shape[0] == 2
    assert maps.layer.startswith("module.layer")
    scores = step_scores(network, (clips(network),), labels)[0]
    assert scores.shape == (2, 1)
    for name in ("torchvision:swin3d_t", "timm:resnet10t", "transformers:videomae"):
        blind = build(name, **NETWORKS.get(name, {}))
        with pytest.raises(UserError, match="nothing to show of it; networks of tokens and image"):
            activation_maps(blind, (clips(blind),), labels)


@pytest.mark.parametrize("name", ["timm:resnet10t.c3_in1k", "transformers:videomae"])
def test_network_is_captured_as_a_graph(name: str) -> None:
    module = VideoClassifier(name, num_classes=3, network_kwargs=NETWORKS[name]).eval()
    scale = Normalization((0.5,) * 3, (0.2,) * 3)
    spec = InputSpec(FrameSampler(num_frames=FRAMES), Crops(size=SIZE), scale)
    module.input_spec = spec.as_dict()
    views = (torch.randint(256, (2, 3, FRAMES, SIZE, SIZE), dtype=torch.uint8),)
    graph = capture(module, views)
    assert graph.free == (0,)
    with torch.inference_mode():
        scaled = (views[0].float() / 255 - 0.5) / 0.2
        torch.testing.assert_close(
            graph.program.module()(*views), module(scaled), atol=1e-4, rtol=1e-3
        )
