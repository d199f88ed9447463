"""Per-frame layers, temporal pooling and temporal shift against plain forms of the same thing."""

import pytest
import torch
from torch import Tensor, nn

from models.layers import (
    FrameConv2d,
    FrameMaxPool2d,
    TemporalMaxPool,
    fold_time,
    unfold_time,
)
from models.norm import FrameBatchNorm2d
from models.registry import get_model
from models.resnet import ARCHITECTURES, VideoResNet
from models.tsm import TemporalShift


def frame_after_frame(*shape: int) -> Tensor:
    """Random (B, C, T, H, W) values that lie in memory as (B, T, C, H, W)."""
    b, c, t, h, w = shape
    return torch.randn(b, t, c, h, w).transpose(1, 2)


def test_folding_keeps_frames_of_a_clip_together() -> None:
    x = torch.randn(2, 3, 4, 5, 6)

    folded = fold_time(x)

    assert folded.shape == (8, 3, 5, 6)
    assert torch.equal(folded[5], x[1, :, 1])
    assert torch.equal(unfold_time(folded, 4), x)


@pytest.mark.parametrize("channels_last", [False, True])
def test_per_frame_layers_do_not_copy(channels_last: bool) -> None:
    """Through a chain of layers, folding an activation is a view of it."""
    x = torch.randn(2, 8, 4, 6, 6)
    convs = [FrameConv2d(8, 8, 3, padding=1), FrameConv2d(8, 8, 1)]
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    for layer in [*convs, FrameBatchNorm2d(8), nn.ReLU(), FrameMaxPool2d(3, 2, 1)]:
        x = layer(x)
        assert fold_time(x).data_ptr() == x.data_ptr()
        format_ = torch.channels_last if channels_last else torch.contiguous_format
        assert fold_time(x).is_contiguous(memory_format=format_)
    if channels_last:
        pooled = TemporalMaxPool(2, 2)(x)
        assert fold_time(pooled).data_ptr() == pooled.data_ptr()


@pytest.mark.parametrize("channels_last", [False, True])
def test_folded_trunk_equals_frame_by_frame(channels_last: bool) -> None:
    trunk = VideoResNet(ARCHITECTURES["tiny"], 5, classifier_std=0.01).eval()
    clip = torch.randn(2, 3, 3, 32, 32)
    if channels_last:
        clip = clip.contiguous(memory_format=torch.channels_last_3d)

    with torch.no_grad():
        together = trunk.forward_features(clip)
        one_by_one = [trunk.forward_features(clip[:, :, t : t + 1]) for t in range(3)]

    torch.testing.assert_close(together, torch.cat(one_by_one, dim=2))


def test_frame_batch_norm_equals_3d_batch_norm() -> None:
    ours, reference = FrameBatchNorm2d(3), nn.BatchNorm3d(3)
    x = torch.randn(2, 3, 4, 5, 5) * 3 + 1

    torch.testing.assert_close(ours(x), reference(x))
    torch.testing.assert_close(ours.running_var, reference.running_var)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
@pytest.mark.parametrize("frames", [4, 7])
def test_temporal_max_pool_equals_max_pool3d(
    kernel: int, stride: int, padding: int, frames: int
) -> None:
    reference = nn.MaxPool3d((kernel, 1, 1), (stride, 1, 1), (padding, 0, 0))
    x = frame_after_frame(2, 3, frames, 4, 4).requires_grad_()
    gradient = torch.randn_like(reference(x))

    ours = TemporalMaxPool(kernel, stride, padding)(x)

    assert torch.equal(ours, reference(x))
    (own_grad,) = torch.autograd.grad(ours, x, gradient)
    (reference_grad,) = torch.autograd.grad(reference(x), x, gradient)
    torch.testing.assert_close(own_grad, reference_grad)


def test_temporal_max_pool_names_too_short_clips() -> None:
    with pytest.raises(ValueError, match=r"1 frame.*at least 2; raise num_frames"):
        TemporalMaxPool(2, 2)(torch.zeros(1, 1, 1, 2, 2))


@pytest.mark.parametrize("shift_div", [4, 8])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_temporal_shift_equals_indexing(shift_div: int, frames: int) -> None:
    x = torch.randn(2, 16, frames, 3, 3)
    moved = 16 // shift_div
    expected = torch.zeros_like(x)
    for t in range(frames):
        for c in range(16):
            source = t + 1 if c < moved else t - 1 if c < 2 * moved else t
            if 0 <= source < frames:
                expected[:, c, t] = x[:, c, source]

    assert torch.equal(TemporalShift(shift_div)(x), expected)
    in_frames = x.transpose(1, 2).contiguous().transpose(1, 2)
    shifted = TemporalShift(shift_div)(in_frames)
    assert torch.equal(shifted, expected)
    assert fold_time(shifted).is_contiguous()


def test_temporal_shift_refuses_to_move_everything() -> None:
    with pytest.raises(ValueError, match="shift_div is 1"):
        TemporalShift(1)


@pytest.mark.parametrize(
    ("shift_div", "message"),
    [
        (17, "shift_div is 17, but the first block has only 16 channels .*; choose 2 to 16"),
        (8.0, "shift_div is 8.0; give a whole number"),
        (1, "shift_div is 1"),
    ],
)
def test_network_that_would_shift_nothing_is_refused(shift_div: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_model("tsm_tiny", 5, shift_div=shift_div)


def test_every_block_shifts_at_the_largest_division() -> None:
    network = get_model("tsm_tiny", 5, shift_div=16).eval()
    (clip,) = network.example_inputs(1, 4, 32)
    moved = []
    for shift in (m for m in network.modules() if isinstance(m, TemporalShift)):
        shift.register_forward_hook(lambda _, x, y: moved.append(not torch.equal(x[0], y)))

    network(clip)

    assert moved == [True] * 3
