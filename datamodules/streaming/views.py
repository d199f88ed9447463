"""The views of an evaluation, from crops of the frames of its clips."""

from torch import Tensor

from datamodules.batch import Views
from datamodules.flow.sources import flow_views

__all__ = ["evaluation_views"]


def evaluation_views(
    crops: Tensor, shape: tuple[int, int], fields: Tensor | None, mirrored: int
) -> Views:
    """Arrange cropped frames, and flow around them, as the views of one item.

    Args:
        crops: Crops of the frames, (N * T, M, C, H, W), uint8.
        shape: Clips N and frames of a clip T.
        fields: Crops of the stacks of flow, (M, N * T * L, 2, H, W), uint8; None without.
        mirrored: Number of mirror images among the M crops; they are the last ones.

    Returns:
        Views clip by clip, N * M of them.
    """
    # (N*T, M, C, H, W) -> (N, T, M, C, H, W) -> (N, M, C, T, H, W) -> (V, C, T, H, W)
    clips = crops.view(*shape, *crops.shape[1:])
    views: Views = {"clips": clips.permute(0, 2, 3, 1, 4, 5).flatten(0, 1)}
    if fields is not None:
        views["flow"] = flow_views(fields, shape, mirrored)
    return views
