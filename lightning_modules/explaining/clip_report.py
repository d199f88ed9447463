"""One clip explained: its classes, where and when the network looks, and its family's own picture.

T frames or chunks, T' steps of a layer, H, W, K classes.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from lightning_modules.explaining.cam import (
    ActivationMaps,
    Method,
    activation_maps,
    in_evaluation,
    spread,
    step_scores,
)
from lightning_modules.explaining.clips import Clip
from lightning_modules.explaining.families import Family
from lightning_modules.explaining.pictures import (
    BLUE,
    captioned,
    colour_flow,
    enlarge,
    heat,
    play,
    plot,
    show,
    side_by_side,
)
from lightning_modules.reports.html_page import answer_bar
from models import VideoNetwork

__all__ = ["explain_clip", "file_stems"]

ANSWERS = 5
"""Classes that are listed of a clip."""

SHOWN = 8
"""Frames that a strip shows, at most."""

BLIND = 1e-4
"""Largest change of a logit by reversed frames that is none."""


def file_stems(names: Sequence[str]) -> list[str]:
    """Make the begin of the file names of each video: a number, and its name in plain letters."""
    width = len(str(len(names)))
    plain = [re.sub(r"[^\w.-]+", "_", Path(name).stem)[:60] or "video" for name in names]
    return [f"{number:0{width}d}_{name}" for number, name in enumerate(plain, 1)]


def explain_clip(
    family: Family,
    clip: Clip,
    stem: str,
    *,
    label: int | None = None,
    layer: str | None = None,
    method: Method = "grad_cam",
    more: str = "",
) -> str:
    """Explain a clip; write its files.

    Args:
        family: The network, what it shows of its own, and the folder of the files.
        clip: The clip.
        stem: Begin of the names of its files.
        label: Class that is explained; None for the likeliest one.
        layer: See `activation_maps`.
        method: See `activation_maps`.
        more: Further cards.

    Returns:
        HTML: cards.

    Raises:
        UserError: If the network has no such layer, or no maps.
    """
    network, names = family.network, family.class_names
    chosen = clip.best if label is None else label
    labels = torch.tensor([chosen], device=clip.inputs[0].device)
    maps = activation_maps(network, clip.inputs, labels, layer, method)
    cards = _answers(clip, names)
    if maps.same_at_all_times():
        cards += _one_map(family, clip, maps, stem, names[chosen])
    else:
        cards += _moving_maps(family, clip, maps, stem, names[chosen])
        cards += _over_time(family, clip, maps, labels, stem, names[chosen])
    cards += family.of_clip(clip, maps, stem) + more
    return f'<div class="clips">{cards}</div>'


def _answers(clip: Clip, names: Sequence[str]) -> str:
    """List the likeliest classes."""
    best = clip.probabilities.topk(min(ANSWERS, len(names)))
    lines = "".join(
        answer_bar(names[i], share, names[i] == clip.truth if clip.truth else None)
        for i, share in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )
    truth = f"true class: {clip.truth}; " if clip.truth else ""
    text = f"{truth}of this clip alone: {len(clip.frames)} frames from the middle, centre crop"
    return captioned("Classes", f'<div class="answers">{lines}</div>', text)


def _moving_maps(family: Family, clip: Clip, maps: ActivationMaps, stem: str, name: str) -> str:
    """Show the clip and its maps as one playable clip, and as a strip."""
    shown = enlarge(clip.frames)
    size = (len(shown), *shown.shape[1:3])
    modalities = family.network.modalities
    panels, seen = ([] if modalities == ("flow",) else [shown]), ["clip"]
    drawn = [heat(shown, spread(part, *size)[0], maps.largest) for part in maps.streams]
    if modalities == ("flow",):
        panels, seen = [shown], ["clip (the network sees its flow alone)"]
    panels += drawn
    several = len(drawn) > 1
    seen += ["map of the appearance stream", "map of the motion stream"] if several else ["map"]
    if clip.flow is not None:
        panels.append(enlarge(colour_flow(clip.flow)))
        seen.append("flow that entered")
    title = f"{', '.join(seen)}, from left to right"
    playing = play(family.folder / f"{stem}_map.mp4", side_by_side(*panels), title)
    times = np.unique(np.linspace(0, len(shown) - 1, min(SHOWN, len(shown))).round().astype(int))
    strips = "".join(
        show(family.folder / f"{stem}_map{_suffix(i, several)}.png", part[times])
        for i, part in enumerate(drawn)
    )
    steps = maps.values.shape[1]
    text = (
        f"{title}; {_kind(maps)} for {name}, {steps} steps of "
        f"{maps.values.shape[2]} x {maps.values.shape[3]} cells, one colour scale for the clip"
    )
    cards = captioned("Where it looks", playing + strips, text)
    sentence = _order_sentence(family.network, clip)
    return cards + (f'<div class="card"><p>{sentence}</p></div>' if sentence else "")


def _one_map(family: Family, clip: Clip, maps: ActivationMaps, stem: str, name: str) -> str:
    """Show the only map, and say that there is no other."""
    shown = enlarge(clip.frames)
    middle = len(shown) // 2
    drawn = heat(shown, spread(maps.values, len(shown), *shown.shape[1:3])[0], maps.largest)
    picture = show(family.folder / f"{stem}_map.png", np.stack([shown[middle], drawn[middle]]))
    steps = maps.values.shape[1]
    why = "has one step of time" if steps == 1 else f"has {steps} equal steps of time"
    text = (
        f"Every frame gets the same map, as {maps.layer} {why} for these {len(shown)} frames: one "
        f"is shown, and nothing can be said of when. {_kind(maps)} for {name}"
    )
    return captioned("Where it looks", picture, text)


def _over_time(
    family: Family, clip: Clip, maps: ActivationMaps, labels: Tensor, stem: str, name: str
) -> str:
    """Show how much each step of time counts for the class."""
    if family.network.has_features and family.network.places == "features":
        values = step_scores(family.network, clip.inputs, labels)[0][0]
        text = f"the parts of the logit of {name}; with the classifier's bias they add up to it"
    else:
        values = maps.values.mean((2, 3))[0]
        text = f"mean of the maps of {name}"
    heights = values.cpu().numpy()
    edges = np.linspace(0, len(clip.frames), len(heights) + 1)

    def paint(axes: Axes) -> None:
        axes.bar(edges[:-1], heights, np.diff(edges) * 0.9, align="edge", color=BLUE)
        axes.axhline(0, lw=0.8, color="#808080")
        axes.set(xlabel="frame of the clip", ylabel="importance", xlim=(0, len(clip.frames)))

    drawn = plot(family.folder / f"{stem}_importance.png", paint, height=2.4)
    return captioned("When it looks", drawn, text)


def _kind(maps: ActivationMaps) -> str:
    if maps.is_exact:
        return "class activation map (exact: its mean and the bias are the logit)"
    return f"{maps.kind} of {maps.layer}"


def _suffix(stream: int, several: bool) -> str:
    return f"_{('rgb', 'flow')[stream]}" if several else ""


def _order_sentence(network: VideoNetwork, clip: Clip) -> str:
    """Say so where the order of the frames changes nothing; empty where it does."""
    if network.modalities != ("clip",):
        return ""
    (frames,) = clip.inputs
    with in_evaluation(network), torch.no_grad():
        change = float((network(frames.flip(2)) - network(frames)).abs().max())
    if change > BLIND:
        return ""
    return (
        "The order of the frames changes nothing for this network (reversed, no logit moves by "
        f"more than {change:.0e}): the maps tell of single frames or of pairs without order, and "
        "nothing here is about motion."
    )
