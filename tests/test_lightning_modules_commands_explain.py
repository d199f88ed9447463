"""kinetoscope explain: pages of videos, of a split, and of the mistakes of a test."""

import csv
import json
import re
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import mistake
from torch import nn

from datamodules import VideoReader
from datamodules.annotations.label_form import LabelForm
from lightning_modules import load, open_checkpoint
from lightning_modules.cli import main
from lightning_modules.commands import explain as explain_command
from lightning_modules.dashboards import items
from lightning_modules.evaluation.protocol import digest_of_weights
from lightning_modules.explaining.clip_report import explain_clip, file_stems
from lightning_modules.explaining.clips import Clip
from lightning_modules.explaining.error_report import worst_of_each
from lightning_modules.explaining.families import family_of
from lightning_modules.reports.scatter import Point, scatter
from lightning_modules.reports.video_table import ScoredVideo
from lightning_modules.runs.wandb_runs import WandbAddress
from models import VideoNetwork, get_model
from models.adapted import AdaptedNetwork

GOLDEN = Path(__file__).parent / "golden" / "checkpoints_of_835e51c"
CHECKPOINT = str(GOLDEN / "cost.ckpt")
VIDEO = str(min((GOLDEN / "videos").rglob("*.mp4")))

pytestmark = pytest.mark.usefixtures("one_thread")

SHOWN = {
    "cost": ["Shares of the three views"],
    "selfy": ["Similarity as motion", "Similarity volumes", "With and without the SELFY block"],
    "stnet": ["Maps of the super-images", "Which super-image the maximum takes"],
    "st_resnet": ["Motion that enters appearance", "map of the motion stream, flow that entered"],
    "tsm": [],
}
"""What the page of each family has beside that of all."""


def explain(out: Path, *words: str, checkpoint: str = CHECKPOINT) -> str:
    """Run the command, and return its page."""
    main(["explain", f"--ckpt_path={checkpoint}", f"--out={out}", "--device=cpu", *words])
    return (out / "index.html").read_text()


def assert_stands_alone(page: str) -> None:
    """Nothing is fetched: every source is inside of the page, and there are no links."""
    fixed = page.replace("picture.src = points[now].picture;", "")  # of the points, which follow
    sources = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')> ]+)""", fixed)
    sources += re.findall(r'"picture": "([^"]+)', page)
    assert sources
    assert {source.split(":")[0] for source in sources if source[0] != "#"} == {"data"}
    assert not re.search(r"https?:(?!//www\.w3\.org/)", re.sub(r"data:[^\"]*", "", page))


RUN_CONFIG = """\
trainer: {max_epochs: 1}
model: {class_path: lightning_modules.CoSTModule, init_args: {network: cost_a_tiny}}
run: {name: mine}
out: null
ckpt_path: null
weights_only: null
data:
  class_path: datamodules.MotionShapesDataModule
  init_args: {root: nowhere, num_train: 64, num_val: 16, num_test: 16}
"""
"""The config of a run, as a fit writes it, in short."""


@pytest.mark.parametrize("family", SHOWN)
def test_page_of_each_family(family: str, tmp_path: Path) -> None:
    if family == "st_resnet":
        pytest.importorskip("cv2", reason="needs the extra `flow`")
    checkpoint = str(GOLDEN / f"{family}.ckpt")
    page = explain(tmp_path, VIDEO, checkpoint=checkpoint)
    for text in ["Classes", "Where it looks", "When it looks", *SHOWN[family]]:
        assert text in page
    assert sum(text in page for texts in SHOWN.values() for text in texts) == len(SHOWN[family])
    assert_stands_alone(page)
    assert len(page) < 4_000_000  # five of them stay under 20 MB
    names = [path.name for path in tmp_path.iterdir()]
    stem = f"1_{Path(VIDEO).stem}"
    assert all(name.startswith(stem) for name in names if name != "index.html")
    with VideoReader(tmp_path / f"{stem}_map.mp4") as video:
        frames = 5 if family == "st_resnet" else 8
        assert video.num_frames == frames + 1  # the last one twice: it is seen as long as others
        panels = 4 if family == "st_resnet" else 2
        assert video.width == panels * video.height
    # the classes are those of one clip from the middle, as predict has it
    answer = next(iter(load(checkpoint, device="cpu")(VIDEO, num_clips=1, num_crops=1)))
    bars = re.findall(r'<span class="open">(\w+)</span>.*?([\d.]+) %</span>', page)
    assert bars[0] == (answer.label, f"{100 * answer.probability:.1f}")


def test_split_is_explained_in_one_pass(motion_root: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(RUN_CONFIG)
    data = ["--config", str(tmp_path / "config.yaml"), f"--data.root={motion_root}"]
    page = explain(tmp_path / "test", *data, "--limit=12", "--batch_size=5")
    assert_stands_alone(page)
    with (tmp_path / "test" / "embedding.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    label = load(CHECKPOINT, device="cpu")
    for row in rows[:3]:
        assert (
            next(iter(label(motion_root / row["video_id"], num_clips=1, num_crops=1))).label
            == row["answer"]
        )
        assert row["class"] == Path(row["video_id"]).parent.name
    right = np.mean([row["class"] == row["answer"] for row in rows])
    assert f"12 clips, {100 * right:.1f} % right" in page
    points = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page)[1])
    assert len(points) == page.count("<circle") == 12
    assert page.count("class=wrong") == sum(row["class"] != row["answer"] for row in rows)
    assert 'tabindex="0"' in page
    # CoST(a): the shares are parameters, whatever is shown
    with (tmp_path / "test" / "view_shares.csv").open() as file:
        shares = {row["layer"]: row for row in csv.DictReader(file)}
    network = open_checkpoint(CHECKPOINT).network
    for name, operation in network.operations().items():
        expected = operation.logits.softmax(1).mean(0).tolist()
        assert [float(shares[name][v]) for v in ("H-W", "T-W", "T-H")] == pytest.approx(
            expected, abs=1e-5
        )
    # a video and the data: the training clips that are nearest
    seen = min((motion_root / "train").rglob("*.mp4"))
    page = explain(tmp_path / "near", *data, str(seen))
    assert "Nearest training clips" in page
    assert f"1.000 {seen.parent.name}" in page  # itself
    assert "among 64 training clips" in page


def test_mistakes_of_a_test_are_playable(
    motion_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    classes = open_checkpoint(CHECKPOINT).class_names
    videos = sorted((motion_root / "test").rglob("*.mp4"))[:6]
    labels = np.array([classes.index(video.parent.name) for video in videos])
    logits = np.full((6, 1, 8), -1.0)
    logits[range(6), 0, labels] = 0.0
    wrong = (labels[:2] + 1) % 8
    logits[range(2), 0, wrong] = [5.0, 1.0]
    digest = digest_of_weights(open_checkpoint(CHECKPOINT).state_dict())

    def save(name: str, weights: str, shown: list[str]) -> str:
        content = {"video_ids": shown, "labels": labels, "logits": logits, "class_names": classes}
        protocol = json.dumps({"weights": weights, "average": "probabilities"})
        np.savez(tmp_path / name, **content, protocol=protocol)
        return f"--errors={tmp_path / name}"

    names = [video.relative_to(motion_root).as_posix() for video in videos]
    scores = save("scores.npz", digest, names)
    sent: list[Any] = []
    address = WandbAddress("abcd1234", "lab")
    monkeypatch.setattr(WandbAddress, "read", lambda folder: address)
    monkeypatch.setattr(explain_command, "stage_in", lambda folder: None)
    monkeypatch.setattr(explain_command, "send_look", lambda *given: sent.append(given))
    data = ["--data=MotionShapesDataModule", f"--data.root={motion_root}"]
    data += [f"--data.num_{split}={n}" for split, n in (("train", 64), ("val", 16), ("test", 16))]
    page = explain(tmp_path / "out", *data, scores)
    assert_stands_alone(page)
    assert page.count("<video") == 2
    ((folder, _, look),) = sent
    assert folder == GOLDEN
    assert look.name == "mistakes of scores"
    rows = look.items["mistakes"].rows
    assert [row[1:3] for row in rows] == [[names[i], classes[labels[i]]] for i in range(2)]
    assert all(isinstance(row[0], items.Clip) for row in rows)
    explain(tmp_path / "alone", *data, scores, "--no_wandb")
    assert len(sent) == 1
    for i in range(2):
        assert f"{classes[labels[i]]} taken for {classes[wrong[i]]}" in page
        assert f"map of {classes[wrong[i]]}, map of {classes[labels[i]]}" in page
        with VideoReader(tmp_path / "out" / f"{i + 1}_{videos[i].stem}_error.mp4") as video:
            assert video.width == 3 * video.height
    assert names[2] not in page
    options = ["explain", f"--ckpt_path={CHECKPOINT}", f"--out={tmp_path / 'x'}", *data]
    other = save("other.npz", "0123abcd", names)
    assert "scores of other weights (0123abcd)" in mistake(capsys, *options, other)
    foreign = save("foreign.npz", digest, [f"{name}x" for name in names])
    assert "neither the test nor the validation list" in mistake(capsys, *options, foreign)


@pytest.mark.parametrize(("command", "code"), [("doctor", 1), ("prepare", 2)])
def test_the_config_of_a_run_serves_other_tools(
    command: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that a fit writes are no mistakes: what ends these is that there is no such folder."""
    own = "{root: nowhere, sampling: {num_frames: 8, frame_stride: 2}}"
    config = RUN_CONFIG.replace("MotionShapes", "VideoFolder").split("  init_args: {root")[0]
    (tmp_path / "config.yaml").write_text(f"{config}  init_args: {own}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([command, "--config", "config.yaml"])
    assert ended.value.code == code


def test_worst_of_each_confusion_in_the_order_of_their_number() -> None:
    def video(name: str, truth: str, answer: str, loss: float) -> ScoredVideo:
        return ScoredVideo(name, (truth,), ((answer, 0.5),), 0.1, loss, "", name)

    wrong = [video(f"ab{i}", "a", "b", 9 - i) for i in range(5)]
    others = [video("ba", "b", "a", 8.5), video("aa", "a", "a", 7)]
    groups = worst_of_each(sorted([*wrong, *others], key=lambda v: -v.loss))
    assert [(title, count) for title, count, _ in groups] == [
        ("a taken for b", 5),
        ("b taken for a", 1),
    ]
    assert [v.video_id for v in groups[0][2]] == ["ab0", "ab1", "ab2"]


softmax = partial(torch.softmax, dim=1)


def made_clip(network: VideoNetwork, frames: int, side: int = 32) -> Clip:
    inputs = network.example_inputs(1, frames, side)
    shown = np.random.default_rng(0).integers(0, 256, (frames, side, side, 3), np.uint8)
    return Clip("a/clip.mp4", inputs, shown, None, torch.tensor([0.1, 0.7, 0.2]), None)


class OneStep(nn.Module):
    """A network of one's own that ends with one step of time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 3, (6, 1, 1))

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.conv(clip).relu().mean((2, 3, 4))


def test_a_sentence_stands_where_a_picture_would_pretend(tmp_path: Path) -> None:
    torch.manual_seed(0)
    blind, seeing = get_model("tsn_tiny", 3), get_model("tsm_tiny", 3)
    for network in (blind, seeing):
        nn.init.normal_(network.fc.weight)
        page = explain_clip(
            family_of(network, "abc", tmp_path, softmax), made_clip(network, 6), "clip"
        )
        assert ("The order of the frames changes nothing" in page) == (network is blind)
        assert "<video" in page
    own = AdaptedNetwork(OneStep(), 3)
    page = explain_clip(family_of(own, "abc", tmp_path, softmax), made_clip(own, 6), "clip")
    assert "Every frame gets the same map, as module.conv has one step of time" in page
    assert "<video" not in page
    assert "When it looks" not in page
    still = made_clip(blind, 1)
    still = Clip(**{**vars(still), "inputs": (still.inputs[0].expand(-1, -1, 4, -1, -1),)})
    page = explain_clip(family_of(blind, "abc", tmp_path, softmax), still, "clip")
    assert "has 4 equal steps of time" in page


def test_scatter_escapes_what_users_wrote() -> None:
    thumbnail = np.zeros((4, 4, 3), np.uint8)
    point = Point((0.0, 1.0), 0, "</script><b>", is_marked=False, thumbnail=thumbnail)
    drawn = scatter([point], ["<i>"], 'a "title"')
    assert "</script><b>" not in drawn
    assert "<i>" not in drawn
    assert json.loads(re.search(r"json\">(.*?)</script>", drawn)[1])[0]["text"] == "</script><b>"


def test_names_of_files_are_plain_and_differ() -> None:
    names = ["a/x y.mp4", "b/x y.mp4", "/ü/../...mp4", f"{'l' * 300}.avi"]
    stems = file_stems(names)
    assert stems[:2] == ["1_x_y", "2_x_y"]
    assert all(re.fullmatch(r"\d_[\w.-]{1,60}", stem) for stem in stems)
    assert [stem[:3] for stem in file_stems(["v.mp4"] * 10)][-2:] == ["09_", "10_"]


MISTAKES = [
    ([], "videos are required, or --data"),
    (["--class=jump", VIDEO], "--class jump is no class of the checkpoint"),
    (["--class=gro", VIDEO], "did you mean grow"),
    (["--layer=layer9", VIDEO], "--layer layer9 gives no maps"),
    (["--errors=scores.npz", VIDEO], "--errors goes with --data"),
    (["--limit=1", VIDEO], "--limit 1 is too small"),
    (["--flow_method=dis", VIDEO], "has no meaning for cost_a_tiny"),
    (["nothing.mp4"], "none of the given videos could be read"),
    (
        ["--data=MotionShapesDataModule", "--class=grow"],
        "--class has no meaning here: it goes with VIDEO",
    ),
    (["--split=val", VIDEO], "--split has no meaning here: it goes with --data alone"),
    (["--limit=9", VIDEO], "it goes with --data alone or VIDEO with --data"),
    (["--no_wandb", VIDEO], "--no_wandb has no meaning here: it goes with --errors"),
    (["--data=UCF101DataModule", "--data.rot=x"], "did you mean root"),
    (["--data=UCF101DataModule", "--data.root=nowhere"], "there is no dataset folder nowhere"),
    (["--config=nowhere.yaml"], "nowhere.yaml"),
    (["--embeding=pca", VIDEO], "did you mean --embedding"),
]


@pytest.mark.parametrize(("words", "sentence"), MISTAKES)
def test_mistakes_are_told_in_a_sentence(
    words: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    told = mistake(capsys, "explain", f"--ckpt_path={CHECKPOINT}", "--out=out", *words)
    assert sentence in told
    assert not Path("out").exists()


def test_data_of_other_classes_and_missing_scikit_learn_are_told(
    motion_root: Path,
    class_folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ["explain", f"--ckpt_path={CHECKPOINT}", f"--out={tmp_path / 'out'}"]
    own = ["--data=VideoFolderDataModule", f"--data.root={class_folders}"]
    assert "are not the data's 3 (grow, move_up" in mistake(capsys, *options, *own)
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    data = ["--data=MotionShapesDataModule", f"--data.root={motion_root}", "--embedding=tsne"]
    data += [f"--data.num_{split}={n}" for split, n in (("train", 64), ("val", 16), ("test", 16))]
    told = mistake(capsys, *options, *data, "--limit=4")
    assert "install kinetoscope[analysis]" in told


def test_a_split_whose_videos_have_several_classes_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = open_checkpoint(CHECKPOINT)
    module.classes.form = LabelForm("multi")
    monkeypatch.setattr(explain_command, "open_checkpoint", lambda path: module)
    words = ["explain", f"--ckpt_path={CHECKPOINT}", f"--out={tmp_path}", "--data=X"]
    assert "a video may have several classes here" in mistake(capsys, *words)


def test_a_broken_video_is_named_and_the_others_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    shutil.copy(VIDEO, tmp_path / "good.mp4")
    with pytest.raises(SystemExit) as ended:
        explain(tmp_path / "out", str(tmp_path / "broken.mp4"), str(tmp_path / "good.mp4"))
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert "broken.mp4: not explained" in printed.out
    assert "1 of 2 videos are not explained" in printed.err
    assert "good.mp4" in (tmp_path / "out" / "index.html").read_text()
