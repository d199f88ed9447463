"""Accuracies on MotionShapes that are known before any training.

Each class is the exact reversal of another and as frequent, so whatever does not see the order of
frames gives a clip and its reversal one answer, of which one at most is right: 50 %. In the look of
noise each frame by itself is noise that no class has for itself, so an average of answers to single
frames is an answer to none: 12.5 %.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.annotations.video_lists import read_video_list
from datamodules.motion_shapes.generation import read_motion
from datamodules.motion_shapes.motion import Motion
from datamodules.motion_shapes.rendering import CLASS_NAMES, Look

__all__ = ["BOUND", "KnownAnswers", "class_of_motion", "pair_of", "read_known_answers"]

BOUND = 0.5
"""Most that a network blind to the order of frames reaches, on average over many clips."""

_CHANCE = 1 / len(CLASS_NAMES)


@dataclass(frozen=True)
class KnownAnswers:
    """Accuracies on the test clips that need no network, as fractions.

    Attributes:
        oracle: Of whoever reads the class off the motion that is stored beside each clip.
        blind_oracle: Of whoever knows that motion but not its direction, and guesses: what is
            expected.
        frames: Most that averages of single frames can expect.
    """

    oracle: float
    blind_oracle: float
    frames: float


def read_known_answers(root: Path, look: Look) -> KnownAnswers:
    """Read the motions of the test clips, and answer by them.

    Args:
        root: Folder of the clips.
        look: Their look.
    """
    listed = read_video_list(root / "lists" / "test.txt")
    labels = np.array([int(label) for label in listed.labels])
    found = np.array([class_of_motion(read_motion(root / path)[1]) for path in listed.paths])
    return KnownAnswers(
        oracle=float(np.mean(found == labels)),
        blind_oracle=float(np.mean(pair_of(found) == pair_of(labels)) / 2),
        frames=BOUND if look == "shapes" else _CHANCE,
    )


def class_of_motion(motion: Motion) -> int:
    """Tell the class of a motion: of way, turn and growth only one is not zero.

    Args:
        motion: Motion of the shape, as it is stored.
    """
    way = (motion.center - motion.camera)[[0, -1]].astype(np.float64)
    to_x, to_y = way[1] - way[0]
    turn = float(motion.angle[-1]) - float(motion.angle[0])
    growth = np.log(float(motion.scale[-1]) / float(motion.scale[0]))
    forwards = [-to_x, -to_y, turn, growth]  # left, up, clockwise, grow: the first of each pair
    if np.hypot(to_x, to_y) > 1e-3:  # ways lie a little off their axis
        pair = 0 if abs(to_x) > abs(to_y) else 1
    else:
        pair = 2 if abs(turn) > abs(growth) else 3
    return 2 * pair + int(forwards[pair] < 0)


def pair_of(labels: np.ndarray) -> np.ndarray:
    """Number the pair of classes that are each other's reversal."""
    return labels // 2
