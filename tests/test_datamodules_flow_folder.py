"""A folder of flow: what belongs in it, whose it is, what is left of a run that was killed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_trees import write
from PIL import Image

from datamodules.flow.extraction import FlowJob, FlowSettings
from datamodules.flow.folder import (
    claim_folder,
    find_jobs,
    read_flow_settings,
)
from datamodules.jobs.dataset_jobs import take_shard
from datamodules.jobs.target_folder import partial_folder
from datamodules.storage.local import LocalPath


class Method:
    """Stands for a method with one parameter."""

    def __init__(self, tau: float = 0.25, version: str = "5.0") -> None:
        self.parameters = {"Tau": tau}
        self.library, self.version = "opencv", version

    def estimate(self, frames: np.ndarray) -> np.ndarray:
        raise AssertionError("nothing is to be estimated")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        write(root / name, "")
    return root


def frame_folder(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(1, 4):
        Image.new("RGB", (48, 40), (number, 0, 0)).save(folder / f"img_{number:05d}.jpg")


def test_videos_are_found_at_any_depth_in_any_form(tmp_path: Path) -> None:
    source = touch(
        tmp_path / "a", "v1.avi", "deep/er/v.2.MP4", "deep/list.txt", ".hidden/v.avi", ".x.avi"
    )
    frame_folder(source / "deep" / "frames")
    (source / "deep" / "loop").symlink_to(source)

    root, jobs = find_jobs(LocalPath(source), tmp_path / "flow")

    assert root == LocalPath(source)
    assert jobs == [
        FlowJob("deep/er/v.2.MP4", "deep/er/v.2"),
        FlowJob("deep/frames", "deep/frames"),
        FlowJob("v1.avi", "v1"),
    ]


def test_a_single_video_is_a_source_too(tmp_path: Path) -> None:
    touch(tmp_path / "a", "v1.avi", "v2.avi")
    frame_folder(tmp_path / "b" / "v3")

    for video, folder in (("a/v1.avi", "v1"), ("b/v3", "v3")):
        path = tmp_path / video
        found = find_jobs(LocalPath(path), tmp_path / "f")
        assert found == (LocalPath(path.parent), [FlowJob(path.name, folder)])


@pytest.mark.parametrize(
    ("names", "target", "sentence"),
    [
        ((), "flow", "there is nothing at"),
        (("list.txt",), "flow", "holds no video at any depth"),
        (("v.avi", "v.mp4"), "flow", "v.avi and v.mp4 would have their flow in one folder"),
        (("v.avi", "v/w/x.avi"), "flow", "v/w/x.avi would lie among that of v.avi"),
        (("v.avi",), "a", "one lies in the other"),
        (("v.avi",), "a/flow", "one lies in the other"),
        (("v.avi",), ".", "one lies in the other"),
    ],
)
def test_sources_without_a_clear_place_for_flow_are_refused(
    names: tuple[str, ...], target: str, sentence: str, tmp_path: Path
) -> None:
    touch(tmp_path / "a", *names)

    with pytest.raises(ValueError, match=sentence):
        find_jobs(LocalPath(tmp_path / "a"), tmp_path / target)


def test_file_that_is_no_video_is_refused_as_source(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"list.txt is no video"):
        find_jobs(LocalPath(touch(tmp_path, "list.txt") / "list.txt"), tmp_path / "flow")


def test_shards_share_the_videos_by_name_alone() -> None:
    jobs = [FlowJob(f"c/v{i}.avi", f"c/v{i}") for i in range(200)]

    shards = [take_shard(jobs, i, 3) for i in range(3)]

    assert sorted(job for shard in shards for job in shard) == sorted(jobs)
    assert all(40 < len(shard) < 95 for shard in shards)
    assert take_shard(jobs[50:], 1, 3) == [job for job in shards[1] if job in jobs[50:]]
    assert [len(shard) for shard in shards] == [65, 72, 63]  # the same on every machine


def test_folder_is_continued_only_with_what_it_was_begun_with(tmp_path: Path) -> None:
    root, settings = tmp_path / "flow", FlowSettings("dis", 64, storage="jpeg")

    assert claim_folder(root, settings, Method()) == []
    assert claim_folder(root, settings, Method()) == []
    assert claim_folder(root, settings, Method(version="6.0")) == ["opencv 5.0 there and 6.0 here"]
    assert read_flow_settings(root) == settings
    for changed, method, sentence in (
        (FlowSettings("tvl1", 64, storage="jpeg"), Method(), "method=dis where method=tvl1"),
        (FlowSettings("dis", 65, 15, "jpeg"), Method(), "short_side=64, bound=20.0 where short"),
        (settings, Method(0.3), "Tau=0.25 where Tau=0.3 was asked; give another target"),
    ):
        with pytest.raises(ValueError, match=sentence):
            claim_folder(root, changed, method)


def test_runs_that_begin_together_share_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, begun = tmp_path / "flow", []

    def then_another(look: Callable[..., Any]) -> Callable[..., Any]:
        def looked(place: Any) -> Any:
            found = look(place)
            if not begun and Path(place) in (root, root / "manifest.json"):
                begun.append(place)
                claim_folder(root, FlowSettings(), Method())
            return found

        return looked

    monkeypatch.setattr(Path, "exists", then_another(Path.exists))
    monkeypatch.setattr(os, "listdir", then_another(os.listdir))
    assert claim_folder(root, FlowSettings(), Method()) == []
    assert begun


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        (None, "holds no manifest of optical flow"),
        ("?", "cannot be read"),
        ('{"dataset": "MotionShapes"}', "is no manifest of optical flow"),
        (json.dumps({"content": "optical flow", "format": 99}), "is of format 99"),
    ],
)
def test_folder_of_something_else_is_refused(
    manifest: str | None, sentence: str, tmp_path: Path
) -> None:
    touch(tmp_path, "some file")
    if manifest is not None:
        write(tmp_path / "manifest.json", manifest)

    with pytest.raises(ValueError, match=sentence):
        claim_folder(tmp_path, FlowSettings(), Method())


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be used for optical flow"):
        claim_folder(touch(tmp_path, "a") / "a", FlowSettings(), Method())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"method": "brox"}, "set method to tvl1 or dis or raft"),
        ({"storage": "png"}, "set storage to jpeg or video"),
        ({"short_side": 31}, "short_side=31 is too small"),
        ({"bound": 0}, "bound=0 is not possible"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        FlowSettings(**values)  # type: ignore[arg-type]


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_kept(tmp_path: Path) -> None:
    dead = tmp_path / ".partial" / "dead"
    touch(dead, "lock", "video/flow_x.mp4")

    with partial_folder(tmp_path) as first:
        assert not dead.exists()
        touch(first, "video/flow_x.mp4")
        with partial_folder(tmp_path) as second:
            assert second != first
            assert (first / "video" / "flow_x.mp4").exists()
        assert not second.exists()
    assert not first.exists()
