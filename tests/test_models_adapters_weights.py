"""Networks of other libraries: published weights, checkpoints and the command line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.models
from command_line import DEBUG, mistake
from conftest import QUIET
from grouped import data_settings
from library_networks import NETWORKS, SMALL, VIDEOMAE, build, clips
from lightning.pytorch import Trainer

from datamodules import DataSpec, MotionShapesDataModule, UserError
from lightning_modules import BaselineModule, VideoClassifier, open_checkpoint
from lightning_modules.cli import main
from lightning_modules.training.initialization import initialize
from models import VideoNetwork, get_model

timm = pytest.importorskip("timm", reason="needs the extra `timm`")
transformers = pytest.importorskip("transformers", reason="needs the extra `transformers`")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


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
