"""Other people's weights: their names and shapes written out here, every value compared."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from command_line import mistake
from lightning.pytorch import Trainer
from torch import Tensor, nn

import models
from datamodules import Crops, FrameSampler, Loading, UserError, VideoFolderDataModule
from lightning_modules import VideoClassifier, open_checkpoint
from lightning_modules.cli import main
from lightning_modules.weights.foreign import load_foreign, read_foreign
from models import VideoNetwork

Weights = dict[str, Tensor]
SMALL = ["--data.crops.size=64", "--data.crops.short_side=72", "--data.sampling.num_segments=4"]
RECIPE = ["--config", "recipe/tsm_kinetics400", *SMALL]
CLASSES = ["zooming", "applauding", "moving, up"]

SELFY_LAYERS = {
    "reduce.0": "stss_transformation.downsample.0",
    "reduce.1": "stss_transformation.downsample.1",
    **{f"extract.{3 * i}": f"stss_extraction.conv{i}.0" for i in range(4)},
    **{f"extract.{3 * i + 1}": f"stss_extraction.conv{i}.1" for i in range(4)},
    **{f"integrate.spatial.{3 * i}": f"stss_integration.conv{i}.0" for i in range(3)},
    **{f"integrate.spatial.{3 * i + 1}": f"stss_integration.conv{i}.1" for i in range(3)},
    "integrate.mix.0": "stss_integration.conv3_fuse.1",
    "integrate.mix.1": "stss_integration.conv3_fuse.2",
    "upsample": "stss_integration.upsample.0",
    "bn": "stss_integration.upsample.1",
}
"""Ours to the authors'; all but the first convolution are 3D there, of size 1 in time."""


def random_network(name: str, num_classes: int = 3, **options: Any) -> VideoNetwork:
    """A network whose every parameter and statistic is random."""
    network = models.get_model(name, num_classes, **options).eval()
    for key, value in network.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif value.is_floating_point():
            value.normal_(std=0.1)
        else:
            value.fill_(7)
    return network


def tsn_form(network: VideoNetwork) -> Weights:
    """As TSN's code saves it, with TSM's shift around the first convolution of a block."""
    theirs = {}
    for key, value in network.state_dict().items():
        layer = key.rpartition(".")[0]
        if layer == "fc":
            theirs[f"module.new_{key}"] = value
        elif "tsm" in network._get_name().lower() and ".conv1." in key:
            theirs[f"module.base_model.{key.replace('conv1', 'conv1.net')}"] = value
        else:
            theirs[f"module.base_model.{key}"] = value
    return theirs


def selfy_form(network: VideoNetwork) -> Weights:
    """As SELFY's code saves it: the classifier is a convolution over time."""
    theirs = {}
    for key, value in network.state_dict().items():
        layer, _, kind = key.rpartition(".")
        if layer == "fc":
            theirs[f"module.new_{key}"] = value[..., None] if kind == "weight" else value
        elif not layer.startswith("selfy."):
            theirs[f"module.base_model.{key}"] = value
        else:
            own = layer.removeprefix("selfy.")
            is_3d = value.ndim == 4 and own != "reduce.0"
            there = f"module.base_model.selfy.{SELFY_LAYERS[own]}.{kind}"
            theirs[there] = value.unsqueeze(2) if is_3d else value
    return theirs


def mmaction_form(network: VideoNetwork) -> Weights:
    """As mmaction2's 3D networks are saved, CoST's operation among them: every kernel is 3D."""
    coefficients = {
        "logits": "alpha",
        "channel_mixing.weight": "fc1.weight",
        "view_mixing.weight": "fc2.weight",
    }
    theirs = {}
    for key, value in network.state_dict().items():
        *block, layer, kind = key.split(".")
        start = ".".join(["backbone", *block])
        if layer == "fc":
            theirs[f"cls_head.fc_cls.{kind}"] = value
        elif block[-1:] == ["downsample"]:
            part = {"0": "conv", "1": "bn"}[layer]
            theirs[f"{start}.{part}.{kind}"] = value.unsqueeze(2) if part == "conv" else value
        elif block[-1:] == ["conv2"]:  # of CoST(b)
            theirs[f"{start}.conv.{coefficients[f'{layer}.{kind}']}"] = value
        elif kind == "logits":
            theirs[f"{start}.{layer}.conv.alpha"] = value.t()
        elif layer.startswith("bn"):
            theirs[f"{start}.conv{layer[2:]}.bn.{kind}"] = value
        else:
            theirs[f"{start}.{layer}.conv.{kind}"] = (
                value.unsqueeze(2) if value.ndim == 4 else value
            )
    return theirs


FORMS = {
    "tsm_tiny": tsn_form,
    "tsn_tiny": tsn_form,
    "selfy_tsm_tiny": selfy_form,
    "cost_a_tiny": mmaction_form,
    "cost_b_tiny": mmaction_form,
    "c2d_tiny": mmaction_form,
    "c3d_tiny": mmaction_form,
    "st_resnet_tiny": lambda network: dict(network.state_dict()),
    "stnet_tiny": lambda network: dict(network.state_dict()),
}


def same(ours: VideoNetwork, theirs: VideoNetwork) -> bool:
    a, b = ours.state_dict(), theirs.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("name", FORMS)
def test_every_value_arrives_and_one_key_more_or_less_is_named(name: str, tmp_path: Path) -> None:
    trained = random_network(name)
    theirs = FORMS[name](trained)
    assert len(theirs) == len(trained.state_dict())
    path = saved({"epoch": 50, "arch": "x", "state_dict": theirs}, tmp_path / "w.pth.tar")
    weights = read_foreign(path)
    empty = models.get_model(name, 3)
    load_foreign(empty, weights, name, "w")
    assert same(empty, trained)

    untouched = random_network(name)
    before = {key: value.clone() for key, value in untouched.state_dict().items()}
    some = [key for key in weights if "num_batches" not in key][-3]
    with pytest.raises(UserError, match="it lacks") as lacking:
        load_foreign(untouched, {k: v for k, v in weights.items() if k != some}, name, "w")
    assert str(lacking.value).count("more") == 0
    with pytest.raises(UserError, match=r"it has more: layer9\.extra\.weight;"):
        load_foreign(untouched, {**weights, "layer9.extra.weight": torch.ones(2)}, name, "w")
    wrong = torch.zeros(5, *weights[some].shape)
    with pytest.raises(UserError, match="of another shape are"):
        load_foreign(untouched, {**weights, some: wrong}, name, "w")
    with pytest.raises(UserError, match="NaN or infinite"):
        load_foreign(untouched, {**weights, some: weights[some] * np.nan}, name, "w")
    after = untouched.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_missing_key_is_named_by_ours() -> None:
    weights = tsn_form(random_network("tsm_tiny"))
    weights = {k.removeprefix("module."): v for k, v in weights.items()}
    del weights["base_model.layer2.0.conv1.net.weight"]
    with pytest.raises(UserError, match=r"it lacks layer2\.0\.conv1\.weight;"):
        load_foreign(models.get_model("tsm_tiny", 3), weights, "tsm_tiny", "w")


def test_counters_that_old_files_lack_are_no_loss() -> None:
    trained = random_network("tsm_tiny")
    old = {k: v for k, v in trained.state_dict().items() if "num_batches" not in k}
    network = models.get_model("tsm_tiny", 3)
    load_foreign(network, old, "tsm_tiny", "w")
    assert all(torch.equal(network.state_dict()[key], value) for key, value in old.items())


class ShiftedConv(nn.Module):
    """The authors' published shift, on (N*T, C, H, W), in front of a convolution."""

    def __init__(self, net: nn.Module, frames: int) -> None:
        super().__init__()
        self.net, self.frames = net, frames

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(-1, self.frames, *x.shape[1:])
        moved, fold = torch.zeros_like(x), x.shape[2] // 8
        moved[:, :-1, :fold] = x[:, 1:, :fold]
        moved[:, 1:, fold : 2 * fold] = x[:, :-1, fold : 2 * fold]
        moved[:, :, 2 * fold :] = x[:, :, 2 * fold :]
        out: Tensor = self.net(moved.flatten(0, 1))
        return out


def authors_tsm(frames: int) -> nn.Module:
    """Make torchvision's ResNet-18 as TSM's code changes it."""
    torch.manual_seed(0)
    trunk = torchvision.models.resnet18()
    for stage in (trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4):
        for block in stage:
            block.conv1 = ShiftedConv(block.conv1, frames)
    trunk.fc = nn.Identity()
    whole = nn.Module()
    whole.base_model, whole.new_fc = trunk, nn.Linear(512, 3)
    return whole.eval()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as TSM's code writes it, beside its class list."""
    folder = tmp_path_factory.mktemp("release")
    weights = tsn_form(random_network("tsm_tiny"))
    content = {"epoch": 50, "arch": "resnet50", "state_dict": weights, "best_prec1": 71.2}
    torch.save(content, folder / "TSM_release.pth.tar", _use_new_zipfile_serialization=False)
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    return folder / "TSM_release.pth.tar"


@pytest.fixture(scope="module")
def imported(release: Path) -> Path:
    """The same as a checkpoint."""
    out = release.with_name("tsm.ckpt")
    words = ["--network", "tsm_tiny", "--classes", str(release.with_name("classes.txt"))]
    main(["import", str(release), *words, "--out", str(out), *RECIPE])
    return out


def test_imported_network_computes_what_the_authors_does() -> None:
    theirs = authors_tsm(4)
    weights = {k: v.clone() for k, v in theirs.state_dict().items()}
    network = models.get_model("tsm_r18", 3).eval()
    load_foreign(network, weights, "tsm_r18", "w")
    clip = torch.randn(2, 3, 4, 64, 64)
    with torch.inference_mode():
        frames = clip.transpose(1, 2).flatten(0, 1)
        expected = theirs.new_fc(theirs.base_model(frames)).view(2, 4, 3).mean(1)  # type: ignore[operator]
        torch.testing.assert_close(network(clip), expected, atol=1e-5, rtol=1e-4)
    assert expected.std() > 0.01


def test_imported_checkpoint_says_what_the_command_said(imported: Path) -> None:
    module = open_checkpoint(imported)
    assert module.class_names == CLASSES
    assert module.classes.average == "logits"
    assert module.input_spec["sampling"]["init_args"]["num_segments"] == 4
    assert module.input_spec["crops"]["short_side"] == 72
    assert module.protocol["dataset"] == "Kinetics k400"
    assert module.origin.step is None
    content = torch.load(imported, weights_only=True)
    assert content["imported"]["file"] == "TSM_release.pth.tar"


def test_imported_checkpoint_predicts_tests_and_starts_a_fit(
    imported: Path,
    class_folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    videos = [str(path) for path in sorted(class_folders.rglob("*.mp4"))[:2]]
    out = tmp_path / "labels.csv"
    main(["predict", "--ckpt_path", str(imported), "--out", str(out), "--device=cpu", *videos])
    with out.open() as file:
        assert all(row["class_1"] in CLASSES for row in csv.DictReader(file))
    names = dict(zip(sorted(p.name for p in class_folders.iterdir()), sorted(CLASSES), strict=True))
    for old, new in names.items():
        (class_folders / old).rename(class_folders / new)
    data = ["--data=VideoFolderDataModule", f"--data.root={class_folders}", *SMALL]
    data += ["--data.loading={batch_size: 2, num_workers: 0}", "--data.val_fraction=0.34"]
    cpu = ["--trainer.accelerator=cpu", "--trainer.logger=false", "--model=BaselineModule"]
    capsys.readouterr()
    main(["test", "--ckpt_path", str(imported), *cpu, *data, f"--out={tmp_path}"])
    said = capsys.readouterr().out
    assert "another order; each is tested by its name" in said
    assert "tsm_tiny" in said
    words = ["fit", *cpu, *data, "--model.network=tsm_tiny", f"--model.init_from={imported}"]
    main([*words, "--trainer.fast_dev_run=true"])
    assert "classifier rows of 3 classes" in caplog.text


def test_resuming_imported_weights_is_refused(
    imported: Path, class_folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [
        "--data=VideoFolderDataModule",
        f"--data.root={class_folders}",
        "--model=BaselineModule",
    ]
    words = ["fit", *data, "--model.network=tsm_tiny", f"--ckpt_path={imported}"]
    said = mistake(capsys, *words, "--trainer.max_epochs=1")
    assert "its weights were imported; start a new run from its weights" in said


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.system, (f"touch {self.target}",)


def test_mistakes_get_one_sentence_and_nothing_runs(
    release: Path, imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "ran"
    hostile = tmp_path / "hostile.pth"
    torch.save({"state_dict": Payload(marker)}, hostile)
    classes = release.with_name("classes.txt")
    two = tmp_path / "two.txt"
    two.write_text("a\nb\n")
    cases = {
        "not a checkpoint or weights file that can be opened safely": (hostile, classes, []),
        "is an address; download the file": ("https://host/a.pth", classes, []),
        "the class os.system is refused": (release, classes, ["--data=os.system"]),
        "there is no file": (tmp_path / "none.pth", classes, []),
        "has 3 rows, but --classes names 2": (release, two, []),
        "classes.text is no file": (release, "classes.text", []),
        "already; give it to test": (imported, classes, []),
        "set data.root to the folder of the dataset": (
            release,
            "data",
            [f"--data.root={tmp_path}"],
        ),
    }
    for sentence, (weights, names, more) in cases.items():
        words = ["import", str(weights), "--network", "tsm_tiny", "--classes", str(names)]
        assert sentence in mistake(capsys, *words, "--out", str(tmp_path / "o"), *RECIPE, *more)
    words = ["import", str(release), "--network", "tsn_r18", "--classes", str(classes)]
    said = mistake(capsys, *words, *RECIPE)
    assert "does not hold a tsn_r18: it lacks layer1.1.conv1.weight" in said
    assert "no --config: sampling" in mistake(capsys, *words)
    assert not marker.exists()
    assert not (tmp_path / "o").exists()


def test_numbers_of_numpy_beside_the_weights_are_read_and_nothing_else(tmp_path: Path) -> None:
    """mmaction2 stores the best accuracy so."""
    weights = {"a": torch.ones(2)}
    meta = {"hook_msgs": {"best_score": np.float64(0.5), "epoch": np.int64(3)}}
    path = saved({"meta": meta, "state_dict": weights}, tmp_path / "a.pth")
    assert torch.equal(read_foreign(path)["a"], weights["a"])
    path = saved({"meta": {"array": np.array([object()])}, "state_dict": weights}, path)
    with pytest.raises(UserError, match="opened safely"):
        read_foreign(path)


def _numbered(root: Path, folder: Path) -> VideoFolderDataModule:
    """Videos by the lists and the class numbers of a folder."""
    return VideoFolderDataModule(
        root=str(root),
        train_list=str(folder / "train.txt"),
        test_list=str(folder / "test.txt"),
        classes_file=str(folder / "classes.txt"),
        val_fraction=0,
        sampling=FrameSampler(num_frames=8, frame_stride=2),
        crops=Crops(size=56),
        loading=Loading(num_workers=0),
    )


def test_classes_are_tested_by_name_whatever_their_order(
    motion_root: Path, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = run_folder / "checkpoints" / "last.ckpt"
    names = open_checkpoint(checkpoint).class_names
    found = {}
    for order in (names, names[3:] + names[:3][::-1]):
        folder = tmp_path / order[0]
        folder.mkdir()
        (folder / "classes.txt").write_text("".join(f"{i} {c}\n" for i, c in enumerate(order)))
        lists = {"train": "train", "test": "test"}
        for split, name in lists.items():
            videos = sorted((motion_root / split).glob("*/*.mp4"))
            lines = [f"{v.relative_to(motion_root)} {order.index(v.parent.name)}" for v in videos]
            (folder / f"{name}.txt").write_text("\n".join(lines))
        data = [
            *("--data=VideoFolderDataModule", f"--data.root={motion_root}"),
            *(f"--data.{n}_list={folder / f'{n}.txt'}" for n in ("train", "test")),
            *(f"--data.classes_file={folder / 'classes.txt'}", "--data.val_fraction=0"),
            *("--data.sampling={num_frames: 8, frame_stride: 2}", "--data.crops.size=56"),
            *("--data.loading.num_workers=0", "--model=CoSTModule", "--trainer.accelerator=cpu"),
        ]
        capsys.readouterr()
        main(["test", f"--ckpt_path={checkpoint}", *data, f"--out={folder}"])
        accuracy = next(
            line for line in capsys.readouterr().out.splitlines() if "video accuracy" in line
        )
        (scores,) = folder.glob("scores_*.npz")
        with np.load(scores) as stored:
            rows = [order.index(name) for name in names]
            found[order[0]] = accuracy, stored["logits"][..., rows], stored["class_names"].tolist()
            assert found[order[0]][2] == order
    (said, logits, _), (said_other, logits_other, _) = found.values()
    assert said == said_other
    own, other_order = (_numbered(motion_root, tmp_path / order[0]) for order in (names, order))
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    module = VideoClassifier.load_from_checkpoint(checkpoint)
    (first,), (second,), (third,) = (trainer.test(module, data) for data in (own, other_order, own))
    assert f"{100 * first['test/top1']:.2f} %" in said
    assert first == second == third
    assert module.class_names == module.classes.of_logits == names
    with pytest.raises(UserError, match=r"was trained on 8 classes .* in the same order, or train"):
        Trainer(accelerator="cpu", logger=False, max_epochs=1).fit(module, other_order)
    np.testing.assert_allclose(logits, logits_other, atol=1e-6)
    other = [word.replace(f"{folder / 'classes.txt'}", str(tmp_path / "x.txt")) for word in data]
    (tmp_path / "x.txt").write_text("".join(f"{i} {c}s\n" for i, c in enumerate(order)))
    assert "are not the data's 8" in mistake(capsys, "test", f"--ckpt_path={checkpoint}", *other)
