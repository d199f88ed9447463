"""DataSpec: the description of data for the LightningModule that it trains or tests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datamodules.annotations.label_form import SINGLE, LabelForm
from datamodules.clips.crops import NumCrops
from datamodules.clips.input_spec import FlowSpec

__all__ = ["DataSpec"]


@dataclass(frozen=True)
class DataSpec:
    """A description of a DataModule, handed to the module when a fit or a test is set up.

    A DataModule of your own that gives batches of the right form may offer one as `data_spec()`; it
    need not fill in what it does not know.

    Attributes:
        class_names: Names of the classes in label order; empty where they are not known.
        dataset: The dataset and its version, label set or official split.
        seen_by: Names of data whose training videos are, in part, the test videos of this.
        input: Plain description of the clips, `InputSpec.as_dict()`.
        batch_size: Clips per device in training; an evaluation takes as many views at a time.
        batches_per_epoch: Batches of a whole epoch on each rank; None where that is not known.
        num_clips: Clips per video in `test`.
        num_crops: Crops per clip in `test`.
        frames_per_segment: Consecutive frames out of each segment.
        flow: The optical flow beside the frames; None for none.
        seed: Seed of the random choices; None where that is not known.
        validation: Number of the validation videos and digest of their list; empty where that is
            not known.
        label_form: What a label is.
    """

    class_names: tuple[str, ...] = ()
    dataset: str = ""
    seen_by: tuple[str, ...] = ()
    input: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    batches_per_epoch: int | None = None
    num_clips: int = 1
    num_crops: NumCrops = 1
    frames_per_segment: int = 1
    flow: FlowSpec | None = None
    seed: int | None = None
    validation: Mapping[str, Any] = field(default_factory=dict)
    label_form: LabelForm = SINGLE

    def protocol(self, average: str, validated_in_part: bool) -> dict[str, Any]:
        """Describe what a checkpoint stores of the data and of its own validation.

        Args:
            average: What is averaged over the views of a video.
            validated_in_part: If only some of the validation videos are looked at.
        """
        return {
            "dataset": self.dataset,
            "num_clips": self.num_clips,
            "num_crops": self.num_crops,
            "average": average,
            "seed": self.seed,
            "validation": {**self.validation, "in_part": validated_in_part},
        }
