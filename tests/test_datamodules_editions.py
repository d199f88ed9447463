"""What results are said to be on."""

import pytest

from datamodules import (
    Diving48DataModule,
    FineGymDataModule,
    HMDB51DataModule,
    KineticsDataModule,
    MomentsInTimeDataModule,
    MotionShapesDataModule,
    SomethingSomethingV2DataModule,
    UCF101DataModule,
)
from datamodules.clips.clip_sampler import FrameSampler
from lightning_modules.training.initialization import refuse_seen_test_videos

NAMES = {
    "UCF101 split 2": UCF101DataModule(sampling=FrameSampler(num_segments=2), split=2),
    "HMDB51 split 3": HMDB51DataModule(sampling=FrameSampler(num_segments=2), split=3),
    "Kinetics k600": KineticsDataModule(sampling=FrameSampler(num_segments=2), version="k600"),
    "MomentsInTime v2": MomentsInTimeDataModule(
        sampling=FrameSampler(num_segments=2), version="v2"
    ),
    "Diving48 v1": Diving48DataModule(sampling=FrameSampler(num_segments=2), version="v1"),
    "FineGym 288 classes v1.1": FineGymDataModule(
        sampling=FrameSampler(num_segments=2), classes=288, version="v1.1"
    ),
    "SomethingSomethingV2": SomethingSomethingV2DataModule(sampling=FrameSampler(num_segments=2)),
    "MotionShapes": MotionShapesDataModule(),
}


@pytest.mark.parametrize("name", NAMES)
def test_dataset_is_named_with_its_edition(name: str) -> None:
    assert NAMES[name].dataset_name == name


@pytest.mark.parametrize("kind", [UCF101DataModule, HMDB51DataModule])
def test_weights_of_another_split_are_refused(
    kind: type[UCF101DataModule] | type[HMDB51DataModule],
) -> None:
    data = kind(sampling=FrameSampler(num_segments=2), split=3)
    dataset = data.dataset_name.split()[0]
    for split in (1, 2):
        with pytest.raises(ValueError, match=rf"x was trained on {dataset} split {split}, .* spli"):
            refuse_seen_test_videos(
                f"{dataset} split {split}", data.dataset_name, data.seen_by, "x"
            )
    for harmless in (f"{dataset} split 3", "UCF11 split 1", "Kinetics k400"):
        refuse_seen_test_videos(harmless, data.dataset_name, data.seen_by, "x")
