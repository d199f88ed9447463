"""The same ids, labels, counts, logits and losses on one, two and three ranks."""

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import QUIET
from grouped import data_settings, module_settings
from lightning.pytorch import Trainer
from numpy.typing import NDArray
from torch import Tensor

from datamodules import MotionShapesDataModule, VideoBatch
from datamodules.annotations.listed_videos import ListedVideos
from lightning_modules import BaselineModule
from lightning_modules.callbacks.score_file import ScoreFile

STAGES = ("validate", "test", "fit")
SECONDS = 900
"""A world that takes longer hangs."""

Found = dict[str, NDArray[Any]]


class FirstVideos(MotionShapesDataModule):
    """Validates and tests on the first `count` of 17 shuffled videos, and trains on the others."""

    def __init__(self, root: Path, count: int) -> None:
        sizes = {"num_train": 64, "num_val": 16, "num_test": 16}
        clips = {"num_frames": 4, "frame_stride": 2, "size": 32, "num_clips": 2}
        loading = {"batch_size": 4, "num_workers": 0}
        super().__init__(str(root), **sizes, **data_settings(**clips, **loading))
        self.count = count

    def read_split(self, split: Any) -> ListedVideos | None:
        if split == "test":
            return None  # the validation videos
        order = np.random.default_rng(0).permutation(64)
        chosen = order[17:] if split == "train" else order[: self.count]
        return super().read_split("train").take(chosen)


class Recorded(BaselineModule):
    """Keeps what this rank scored."""

    def __init__(self) -> None:
        still = module_settings(BaselineModule, lr=0.0, frozen_bn="all", weight_decay=0.0)
        super().__init__("tsm_tiny", num_classes=8, **still)
        torch.nn.init.normal_(self.network.fc.weight)
        self.has_weights = True
        self.scored: list[tuple[str, int, Tensor]] = []

    def view_logits(self, batch: VideoBatch) -> Tensor:
        logits = super().view_logits(batch)
        for i in torch.where(batch["valid"])[0].tolist():
            self.scored.append((batch["video_id"][i], int(batch["label"][i]), logits[i]))
        return logits


def evaluate(root: Path, folder: Path, count: int, stage: str, ranks: int) -> None:
    """Run one stage on this rank, and store what it scored and what the trainer logged."""
    torch.manual_seed(0)
    module, data = Recorded(), FirstVideos(root, count)
    trainer = Trainer(
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        max_epochs=1,
        limit_train_batches=1,
        enable_checkpointing=False,
        callbacks=[ScoreFile(folder)] if stage == "test" else [],
        **QUIET,
    )
    more = {} if stage == "fit" else {"verbose": False}
    getattr(trainer, stage)(module, data, **more)
    confusion = module.classes.test_by_class if stage == "test" else module.classes.val_by_class
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    logits = [logits.numpy() for _, _, logits in module.scored]
    np.savez(
        folder / f"{stage}.{trainer.global_rank}.npz",
        ids=np.array([name for name, _, _ in module.scored], dtype=np.str_),
        labels=np.array([label for _, label, _ in module.scored], dtype=np.int64),
        logits=np.array(logits).reshape(-1, 2 if stage == "test" else 1, 8),
        counts=confusion.compute().numpy(),
        top1=logged["test/top1" if stage == "test" else "val/top1"],
        loss=logged.get("val/loss", np.nan),
    )


def run_rank(
    rank: int, ranks: int, port: int, root: Path, out: Path, counts: Sequence[int]
) -> None:
    """One process of a world: every number of videos, every stage."""
    if ranks > 1:
        place = {"LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": ranks, "MASTER_PORT": port}
        os.environ.update({key: str(value) for key, value in place.items()})
        os.environ["MASTER_ADDR"] = "127.0.0.1"
        torch.set_num_threads(1)
    for count in counts:
        folder = out / f"{ranks}_ranks_{count}_videos"
        folder.mkdir(parents=True, exist_ok=True)
        for stage in STAGES:
            evaluate(root, folder, count, stage, ranks)


def run_world(ranks: int, root: Path, out: Path, counts: Sequence[int]) -> None:
    """Start the ranks and wait; a world that hangs is ended and fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = (ranks, port, root, out, counts)
    world = torch.multiprocessing.start_processes(
        run_rank, words, nprocs=ranks, join=False, start_method="spawn"
    )
    assert world is not None
    limit = time.monotonic() + SECONDS
    while not world.join(timeout=5):
        if time.monotonic() > limit:
            for process in world.processes:
                process.kill()
            pytest.fail(f"{ranks} ranks were not done after {SECONDS} s")


def read(out: Path, ranks: int, count: int, stage: str) -> Found:
    """What all ranks of a world scored, by video id, and what rank 0 logged."""
    folder = out / f"{ranks}_ranks_{count}_videos"
    parts = [dict(np.load(folder / f"{stage}.{rank}.npz")) for rank in range(ranks)]
    ids = np.concatenate([part["ids"] for part in parts])
    order = np.argsort(ids)
    found = {k: np.concatenate([p[k] for p in parts])[order] for k in ("labels", "logits")}
    shared = ("counts", "top1", "loss")
    for key in shared:
        assert all(np.array_equal(p[key], parts[0][key], equal_nan=True) for p in parts), key
    found |= {"ids": ids[order], **{key: parts[0][key] for key in shared}}
    if stage == "test":
        found |= _score_file(folder / "scores_val_2x1.npz", found)
    return found


def _score_file(path: Path, found: Found) -> Found:
    """The loss and the logits of the score file, which holds just what the ranks scored."""
    with np.load(path) as stored:
        order = np.argsort(stored["video_ids"])
        logits, labels = stored["logits"][order], stored["labels"][order]
        assert stored["video_ids"][order].tolist() == found["ids"].tolist()
    np.testing.assert_array_equal(labels, found["labels"])
    np.testing.assert_array_equal(logits, found["logits"])
    return {"loss": np.float64(mean_loss(logits, labels)), "file": logits}


def mean_loss(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """Mean cross-entropy over all views."""
    exact = logits.astype(np.float64)
    log_sums = np.log(np.exp(exact - exact.max(-1, keepdims=True)).sum(-1)) + exact.max(-1)
    own = np.take_along_axis(exact, labels[:, None, None], axis=-1)[..., 0]
    return float((log_sums - own).mean())


def listed(root: Path, count: int) -> dict[str, int]:
    """Label of each listed video that is to be scored, by id."""
    data = FirstVideos(root, count)
    data.setup()
    return dict(zip(data.val_set.video_ids, data.val_set.labels.tolist(), strict=True))


def check_alone(found: Found, wanted: dict[str, int]) -> None:
    """One rank scores just the listed videos, and its metrics are those of its logits."""
    assert found["ids"].tolist() == sorted(wanted)
    assert found["labels"].tolist() == [wanted[name] for name in sorted(wanted)]
    exponents = np.exp(found["logits"].astype(np.float64))
    guesses = (exponents / exponents.sum(-1, keepdims=True)).mean(1).argmax(1)
    counts = np.zeros((8, 8), dtype=np.int64)
    np.add.at(counts, (found["labels"], guesses), 1)
    np.testing.assert_array_equal(found["counts"], counts)
    assert found["top1"] == pytest.approx(np.mean(guesses == found["labels"]), abs=1e-6)
    expected = mean_loss(found["logits"], found["labels"])
    assert found["loss"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("counts", "worlds"),
    [
        pytest.param((4, 5), (1, 2), marks=pytest.mark.one_slow_case, id="two ranks"),
        pytest.param(range(1, 18), (1, 2, 3), id="1 to 17 videos on 1 to 3 ranks"),
    ],
)
def test_ranks_change_nothing(
    counts: Sequence[int], worlds: Sequence[int], motion_root: Path, tmp_path: Path
) -> None:
    for ranks in worlds:
        run_world(ranks, motion_root, tmp_path, counts)
    differences, losses, compared = [0.0], [0.0], 0
    for count in counts:
        wanted = listed(motion_root, count)
        for stage in STAGES:
            alone = read(tmp_path, 1, count, stage)
            check_alone(alone, wanted)
            for ranks in worlds:
                found = read(tmp_path, ranks, count, stage)
                for key in ("ids", "labels", "counts"):
                    np.testing.assert_array_equal(found[key], alone[key], err_msg=key)
                assert found["top1"] == alone["top1"]
                differences.append(float(np.abs(found["logits"] - alone["logits"]).max()))
                losses.append(abs(float(found["loss"] - alone["loss"])))
                compared += 1
    assert compared == len(counts) * len(STAGES) * len(worlds)
    print(f"{compared} combinations: logits {max(differences):.1e}, losses {max(losses):.1e}")  # noqa: T201
    assert max(differences) <= 1e-5
    assert max(losses) <= 1e-6
