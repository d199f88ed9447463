"""Networks of other libraries: the contract, their clips and options, their published weights."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.models
from command_line import DEBUG, mistake
from conftest import QUIET
from grouped import data_settings
from lightning.pytorch import Trainer
from torch import Tensor, nn

from datamodules import DataSpec, FrameSampler, MotionShapesDataModule, UserError
from datamodules.clips.crops import Crops
from datamodules.clips.input_spec import InputSpec, Normalization
from lightning_modules import BaselineModule, VideoClassifier, open_checkpoint
from lightning_modules.cli import main
from lightning_modules.explaining.cam import activation_maps, step_scores
from lightning_modules.exporting.graphs import capture
from lightning_modules.training.initialization import initialize
from models import VideoNetwork, count_macs, get_model
from models.adapted import AdaptedNetwork
from models.adapters.library_network import LibraryNetwork

timm = pytest.importorskip("timm", reason="needs the extra `timm`")
transformers = pytest.importorskip("transformers", reason="needs the extra `transformers`")

FRAMES, SIZE, CLASSES = 4, 32, 5
TOKENS: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL: dict[str, Any] = {**TOKENS, "intermediate_size": 32, "image_size": 32, "num_frames": 4}
TUBELETS: dict[str, Any] = {**SMALL, "tubelet_size": [2, 16, 16]}
VJEPA2: dict[str, Any] = {**TOKENS, "hidden_size": 32, "crop_size": 32, "frames_per_clip": 4}
VJEPA2 |= {"mlp_ratio": 2.0, "num_pooler_layers": 1}
VJEPA2 |= {"pred_hidden_size": 12, "pred_num_hidden_layers": 1}
VIT: dict[str, Any] = {"img_size": 32, "depth": 1}
NETWORKS: dict[str, dict[str, Any]] = {
    "torchvision:mc3_18": {},
    "torchvision:swin3d_t": {"dropout": 0.1},
    "timm:resnet10t.c3_in1k": {"dropout": 0.1},
    "timm:mobilenetv3_small_050": {},
    "timm:vit_tiny_patch16_224": VIT,
    "transformers:videomae": SMALL,
    "transformers:timesformer": SMALL,
    "transformers:vivit": TUBELETS,
    "transformers:vjepa2": VJEPA2,
}
"""Small networks, and options that make them smaller."""
VIDEOMAE = ("transformers:videomae", SMALL)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def build(name: str, num_classes: int = CLASSES, **options: Any) -> LibraryNetwork:
    network = get_model(name, num_classes, **options)
    assert isinstance(network, LibraryNetwork)
    return network


def clips(network: VideoNetwork, batch: int = 2) -> Tensor:
    return network.example_inputs(batch, FRAMES, SIZE)[0]


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


def init(network: VideoNetwork, class_names: list[str]) -> Any:
    return initialize(network, "library", class_names, DataSpec())


def test_torchvisions_weights_load_by_class_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = torchvision.models.video.MC3_18_Weights.DEFAULT
    source = torchvision.models.video.mc3_18()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(weights.value, "url", (tmp_path / "mc3_18-00000000.pth").as_uri())
    network = build("torchvision:mc3_18", 2)
    with pytest.raises(UserError, match=r"init_from=library: torchvision:mc3_18 has .* cannot be"):
        init(network, ["abseiling", "nobody"])
    torch.save(source.state_dict(), tmp_path / "mc3_18-00000000.pth")
    with pytest.raises(UserError, match="invalid hash value"):
        init(network, ["abseiling", "nobody"])
    kept = tmp_path / "torch" / "hub" / "checkpoints"
    (tmp_path / "mc3_18-00000000.pth").rename(kept / "mc3_18-00000000.pth")
    own = network.module.fc.weight[1].clone()
    report = init(network, ["abseiling", "nobody"])
    assert (report.new, report.skipped, report.matched_classes) == ([], {}, 1)
    assert torch.equal(network.module.stem[0].weight, source.stem[0].weight)
    assert torch.equal(network.module.fc.weight[0], source.fc.weight[0])
    assert torch.equal(network.module.fc.weight[1], own)


def test_timms_weights_fill_all_but_the_classifier(tmp_path: Path) -> None:
    source = timm.create_model("resnet10t")
    torch.save(source.state_dict(), tmp_path / "resnet10t.pth")
    overlay = {"file": str(tmp_path / "resnet10t.pth")}
    network = build("timm:resnet10t", 2, pretrained_cfg_overlay=overlay)
    assert not torch.equal(network.module.conv1[0].weight, source.conv1[0].weight)
    report = init(network, ["a", "b"])
    assert torch.equal(network.module.conv1[0].weight, source.conv1[0].weight)
    assert set(report.new) == {"module.fc.weight", "module.fc.bias"}
    assert set(report.skipped) == set(report.new)
    nowhere = build("timm:resnet10t", 2, pretrained_cfg_overlay={"file": str(tmp_path / "gone")})
    with pytest.raises(UserError, match=r"init_from=library: timm:resnet10t has weights that cann"):
        init(nowhere, ["a", "b"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a network of two classes, as transformers writes it."""
    labels = {"id2label": {0: "up", 1: "down"}, "label2id": {"up": 0, "down": 1}}
    config = transformers.VideoMAEConfig(**SMALL, **labels)
    transformers.VideoMAEForVideoClassification(config).save_pretrained(tmp_path / "folder")
    return tmp_path / "folder"


def test_folder_of_transformers_loads_by_class_name(folder: Path) -> None:
    source = transformers.AutoModelForVideoClassification.from_pretrained(folder)
    network = build(f"transformers:{folder}", 3)
    report = init(network, ["left", "down", "up"])
    assert (report.new, report.skipped, report.matched_classes) == ([], {}, 2)
    assert torch.equal(network.module.fc_norm.weight, source.fc_norm.weight)
    assert torch.equal(network.module.classifier.weight[1:], source.classifier.weight.flip(0))


def test_weights_of_a_pretraining_leave_the_head_new(tmp_path: Path) -> None:
    config = transformers.VideoMAEConfig(**SMALL, decoder_num_hidden_layers=1)
    transformers.VideoMAEForPreTraining(config).save_pretrained(tmp_path)
    network = build(f"transformers:{tmp_path}", 2)
    report = init(network, ["a", "b"])
    heads = {f"module.{layer}.{kind}" for layer in ("fc_norm", "classifier") for kind in _KINDS}
    assert set(report.new) == heads
    assert report.skipped == {}


_KINDS = ("weight", "bias")


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("tsn_tiny", {}, "no library publishes weights of this network; give imagenet"),
        (*VIDEOMAE, "transformers:videomae is a kind of network, of which no weights are"),
    ],
)
def test_library_without_weights_is_refused(
    name: str, options: dict[str, Any], sentence: str
) -> None:
    network = get_model(name, 2, **options)
    with pytest.raises(UserError, match=sentence):
        init(network, ["a", "b"])
    with pytest.raises(UserError, match="which library, imagenet is no checkpoint of a run"):
        initialize(network, ["library", "imagenet"], ["a", "b"], DataSpec())


def test_weights_of_another_size_are_refused(folder: Path) -> None:
    network = build(f"transformers:{folder}", 2, intermediate_size=16)
    with pytest.raises(UserError, match="init_from=library: the weights are not of this network"):
        init(network, ["a", "b"])


def saved(module: VideoClassifier, root: Path, folder: Path) -> Path:
    """A checkpoint of one step."""
    data = data_settings(num_frames=4, frame_stride=2, size=32, batch_size=8, num_workers=0)
    shapes = MotionShapesDataModule(str(root), num_train=64, num_val=16, num_test=16, **data)
    trainer = Trainer(max_steps=1, limit_val_batches=0, enable_checkpointing=False, **QUIET)
    trainer.fit(module, shapes)
    trainer.save_checkpoint(folder / "x.ckpt")
    return folder / "x.ckpt"


@pytest.mark.parametrize(
    "name", ["timm:mobilenetv3_small_050", "transformers:timesformer", "transformers:FOLDER"]
)
def test_checkpoint_alone_makes_the_network_again(
    name: str, folder: Path, motion_root: Path, tmp_path: Path
) -> None:
    options = dict(NETWORKS.get(name, {"hidden_dropout_prob": 0.0}))
    path = name.replace("FOLDER", str(folder))
    init_from = "library" if path != name else None
    module = VideoClassifier(path, num_classes=8, network_kwargs=options, init_from=init_from)
    checkpoint = saved(module, motion_root, tmp_path)
    for file in folder.iterdir():
        file.unlink()
    opened = open_checkpoint(checkpoint)
    clip = clips(module.network)
    with torch.inference_mode():
        assert torch.equal(opened.eval()(clip), module.eval()(clip))
    assert opened.network_name == path
    other = VideoClassifier(name, num_classes=8, network_kwargs=options) if path == name else opened
    report = initialize(other.network, str(checkpoint), module.class_names, DataSpec())
    assert report.new == []


def test_only_modules_that_store_a_config_train_a_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own(VideoClassifier):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(f"transformers:{folder}", network_kwargs={}, **kwargs)

    with pytest.raises(UserError, match=r"Own has no argument network_kwargs, .* VideoClassifier"):
        Own(num_classes=2).describe_as({})
    with pytest.raises(UserError, match=r"BaselineModule trains c2d .* choose --model Video"):
        BaselineModule("timm:resnet10t", num_classes=2)


def test_command_line_takes_names_with_colons(
    motion_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--config=data/motion_shapes", f"--config={DEBUG}", f"--data.root={motion_root}"]
    data += ["--data.num_train=64", "--data.num_val=16", "--data.num_test=16"]
    data += ["--data.crops.size=32", "--data.crops.short_side=36"]
    words = ["--model=VideoClassifier", "--model.network=transformers:videomae"]
    words += [f"--model.network_kwargs.{key}={value}" for key, value in SMALL.items()]
    fit = ["fit", *data, *words, f"--run.folder={tmp_path}"]
    assert "num_frames=4" in mistake(capsys, *fit, "--data.sampling.num_frames=8")
    four = "--data.sampling.num_frames=4"
    main([*fit, four])
    checkpoint = next(tmp_path.glob("debug/*/checkpoints/last.ckpt"))
    main(["test", *data, four, *words[:2], f"--ckpt_path={checkpoint}", f"--out={tmp_path}"])
    video = str(next(motion_root.glob("test/*/*.mp4")))
    labels = f"--out={tmp_path / 'labels.csv'}"
    main(["predict", f"--ckpt_path={checkpoint}", "--device=cpu", labels, video])
    words = [f"--ckpt_path={checkpoint}", "--device=cpu", f"--out={tmp_path}", "--step=8f"]
    main(["features", *words, "--window=8f", video])
    with np.load(tmp_path / f"{Path(video).stem}.npz") as file:
        assert file["features"].shape[1] == 16
    capsys.readouterr()
    main(["models", "timm:resnet10t", "--size=64"])
    assert "timm:resnet10t" in capsys.readouterr().out


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
