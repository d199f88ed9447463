"""Pages about a dataset, command by command: transcoded, packed, read in place, examined.

Each has a small dataset in the folder that the page names, and trains the recipe's tiny network.
"""

import tarfile
from pathlib import Path

import pytest
from conftest import PROJECT_ROOT
from dataset_trees import write
from doc_pages import commands_of
from test_configs import DEBUG, FORMS

from lightning_modules.cli import main

TINY = ["--config", DEBUG, "--data.loading.num_workers=0", "--trainer.limit_val_batches=1"]
RECIPE = [
    *TINY,
    "--model.network=cost_b_tiny",
    "--model.init_from=null",
    "--data.crops.aspect=null",
]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the project's configs and a folder `data` are."""
    (tmp_path / "data").mkdir()
    (tmp_path / "configs").symlink_to(PROJECT_ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_transcoded_and_packed(desk: Path, class_folders: Path) -> None:
    FORMS["kinetics"](class_folders)
    class_folders.rename(desk / "data" / "kinetics")
    transcode, of_copies, pack, of_pack, *_ = commands_of("loading.md")
    main(transcode)
    main([*of_copies, *RECIPE, "--run.name=copies"])
    main(pack)
    main([*of_pack, *RECIPE, "--run.name=pack"])
    saved = {path.parents[2].name for path in desk.glob("runs/*/*/checkpoints/last.ckpt")}
    assert saved == {"copies", "pack"}
    assert list((desk / "data" / "kinetics_packed").rglob("*.tar"))


def test_archives_that_are_there(desk: Path, class_folders: Path) -> None:
    classes = sorted(path.name for path in class_folders.iterdir())
    videos = sorted(class_folders.rglob("*.mp4"))
    for split, part in (("train", videos[::2]), ("val", videos[1::2])):
        archive = desk / "data" / "webdataset_shards" / split / "000000.tar"
        archive.parent.mkdir(parents=True)
        with tarfile.open(archive, "w") as shard:
            for number, video in enumerate(part):
                label = write(desk / "label", str(classes.index(video.parent.name)))
                shard.add(video, f"{split}{number:03d}.mp4")
                shard.add(label, f"{split}{number:03d}.cls")
    index, fit = commands_of("loading.md")[-2:]
    assert "--index_only" in index
    main(index)
    main([*fit, *TINY, "--trainer.max_steps=2", "--trainer.val_check_interval=1"])
    assert len(list((desk / "runs").rglob("last.ckpt"))) == 1


def test_examined(desk: Path, class_folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    FORMS["ucf101"](class_folders)
    class_folders.rename(desk / "data" / "ucf101")
    (doctor,) = commands_of("doctor.md")
    main([*doctor, "--measure", "0"])
    assert "ready for training: 0 fatal, 3 warnings" in capsys.readouterr().out
    assert (desk / "runs" / "doctor" / "ucf101" / "report.html").is_file()
