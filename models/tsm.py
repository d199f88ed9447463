"""TSM: a 2D network that moves some channels one frame back and some one frame on.

Lin, Gan, Han, TSM: Temporal Shift Module for Efficient Video Understanding, ICCV 2019 (arXiv
1811.08383). The residual shift in its offline, bi-directional form: in front of the first
convolution of a residual branch, an eighth of the channels takes its values from the next frame,
an eighth from the previous one; the identity branch is left alone. No parameters, no
multiply-adds. Head and initialisation are those of TSN.

Axes: B clips, C channels, T frames, H rows, W columns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import check_integer, fold_time, unfold_time
from models.resnet import BlockParts, BlockPlan, get_architecture
from models.tsn import FrameConsensusResNet


class TemporalShift(nn.Module):
    """Shift channels along T (figure 1(b) of the paper); what enters at the ends is zero.

    Args:
        shift_div: 1/shift_div of the channels moves each way; 8 in the paper.

    Raises:
        ValueError: shift_div is not a whole number of at least 2.
    """

    def __init__(self, shift_div: int = 8) -> None:
        super().__init__()
        check_integer("shift_div", shift_div)
        if shift_div < 2:
            raise ValueError(f"shift_div is {shift_div}; at least 2, as two parts are shifted")
        self.shift_div = shift_div

    def forward(self, x: Tensor) -> Tensor:
        """Shift x, (B, C, T, H, W): y[t] = x[t+1], x[t-1] and x[t] in three groups of channels."""
        moved = x.shape[1] // self.shift_div
        future, past, still = torch.split(x, [moved, moved, x.shape[1] - 2 * moved], dim=1)
        future = F.pad(future[:, :, 1:], (0, 0, 0, 0, 0, 1))
        past = F.pad(past[:, :, :-1], (0, 0, 0, 0, 1, 0))
        frames = torch.cat([fold_time(group) for group in (future, past, still)], dim=1)
        return unfold_time(frames, x.shape[2])

    def extra_repr(self) -> str:
        """The share moved, for `print(network)`."""
        return f"shift_div={self.shift_div}"


class TSM(FrameConsensusResNet):
    """Temporal shift network on RGB frames.

    Args:
        arch: Key of `models.resnet.ARCHITECTURES`.
        num_classes: Width of the logits.
        shift_div: 1/shift_div of the channels moves each way.
        dropout: Probability of dropping a feature before the classifier.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self, arch: str, num_classes: int, *, shift_div: int = 8, dropout: float = 0.5
    ) -> None:
        super().__init__(
            arch, num_classes, block_parts=shifted_blocks(arch, shift_div), dropout=dropout
        )
        self.unseen_options["shift_div"] = shift_div


def shifted_blocks(arch: str, shift_div: int) -> BlockPlan:
    """Put a temporal shift into every block; into every second one of very deep networks.

    The authors' code does the latter, from the first block of each stage on, when a stage has 23
    blocks or more (R101, R152).

    Args:
        arch: Key of `models.resnet.ARCHITECTURES`.
        shift_div: 1/shift_div of the channels moves each way.

    Returns:
        From the indices of stage and block (both from 0) to the block's parts.

    Raises:
        ValueError: An argument is out of its range, or a block would have no channel to shift.
    """
    architecture = get_architecture(arch)
    check_integer("shift_div", shift_div)
    if shift_div > architecture.width:
        raise ValueError(
            f"shift_div is {shift_div}, but the first block has only {architecture.width} channels "
            f"to shift a part of; choose 2 to {architecture.width}"
        )
    step = 2 if max(architecture.depths) >= 23 else 1
    shifted = BlockParts(before_conv1=lambda: TemporalShift(shift_div))
    return lambda stage, block: shifted if block % step == 0 else BlockParts()
