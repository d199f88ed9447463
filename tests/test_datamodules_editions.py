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

NAMES = {
    "UCF101 split 2": UCF101DataModule(num_segments=2, split=2),
    "HMDB51 split 3": HMDB51DataModule(num_segments=2, split=3),
    "Kinetics k600": KineticsDataModule(num_segments=2, version="k600"),
    "MomentsInTime v2": MomentsInTimeDataModule(num_segments=2, version="v2"),
    "Diving48 v1": Diving48DataModule(num_segments=2, version="v1"),
    "FineGym 288 classes v1.1": FineGymDataModule(num_segments=2, classes=288, version="v1.1"),
    "SomethingSomethingV2": SomethingSomethingV2DataModule(num_segments=2),
    "MotionShapes": MotionShapesDataModule(),
}


@pytest.mark.parametrize("name", NAMES)
def test_dataset_is_named_with_its_edition(name: str) -> None:
    assert NAMES[name].dataset_name == name


@pytest.mark.parametrize("kind", [UCF101DataModule, HMDB51DataModule])
def test_weights_of_another_split_are_refused(
    kind: type[UCF101DataModule] | type[HMDB51DataModule],
) -> None:
    data = kind(num_segments=2, split=3)
    dataset = data.dataset_name.split()[0]
    for split in (1, 2):
        with pytest.raises(ValueError, match=rf"x was trained on {dataset} split {split}, .* spli"):
            data.refuse_other_split(f"{dataset} split {split}", "x")
    for harmless in (f"{dataset} split 3", "UCF11 split 1", "Kinetics k400"):
        data.refuse_other_split(harmless, "x")
