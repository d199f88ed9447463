"""Speed of training steps on a batch that is there already: what a loader has to keep up with."""

import time
from collections.abc import Sequence

import torch
from torch.nn.functional import cross_entropy

from datamodules.errors import as_user_error
from datamodules.health.findings import Finding
from datamodules.health.loading import LoaderSpeed
from models import VideoNetwork

KEEPS_UP = 0.9
"""Share of the network's speed from which a loader keeps up with it."""


def measure_steps(
    network: VideoNetwork,
    batch_size: int,
    frames: int,
    size: int,
    device: torch.device,
    seconds: float,
) -> float:
    """Train a network on one batch over and over.

    In float32 on a CPU, else with automatic casts to bfloat16; plain SGD.

    Args:
        network: The network; its weights are changed.
        batch_size: Clips of the batch.
        frames: T of a clip.
        size: Height and width of a clip, in pixels.
        device: The device.
        seconds: Time to measure for, after a first step that does not count unless it alone took
            longer.

    Returns:
        Clips per second.

    Raises:
        UserError: If the network does not take such clips.
    """
    network.to(device).train()
    with as_user_error():
        inputs = [
            x.contiguous(memory_format=torch.channels_last_3d)
            for x in network.example_inputs(batch_size, frames, size)
        ]
    labels = torch.zeros(batch_size, dtype=torch.int64, device=device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6)
    begun, steps = time.perf_counter(), 0
    is_first = True
    while True:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu"):
            loss = cross_entropy(network(*inputs).float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        float(loss.detach())  # waits for the device
        passed, steps = time.perf_counter() - begun, steps + 1
        if passed > seconds:
            return steps * batch_size / passed
        if is_first:
            is_first, steps, begun = False, 0, time.perf_counter()


def step_findings(
    network: VideoNetwork,
    clip: tuple[int, int],
    batch_size: int,
    speeds: Sequence[LoaderSpeed],
    seconds: float,
) -> list[Finding]:
    """Compare the speed of training steps with that of the loader.

    Args:
        network: The network.
        clip: Frames of a clip, and its height and width in pixels.
        batch_size: Clips of a batch; on a CPU, whose speed hardly depends on it, at most four.
        speeds: The loader's, as `measure_loader` found them.
        seconds: Time to measure for.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch_size = batch_size if device.type == "cuda" else min(batch_size, 4)
    rate = measure_steps(network, batch_size, *clip, device, seconds)
    text = f"On a batch that is there already the network trains on {rate:,.1f} clips/s ({device})"
    beside = [speed.clips_per_second for speed in speeds if speed.num_workers]
    if not beside:
        return [Finding("note", "headroom", f"{text}.")]
    loaded = max(beside)
    if loaded >= KEEPS_UP * rate:
        text = f"{text}; the loader's {loaded:,.1f} keep up with that."
        return [Finding("note", "headroom", text)]
    text = (
        f"{text}, and the loader gives {loaded:,.1f}: training will wait for data "
        f"{1 - loaded / rate:.0%} of the time; `kinetoscope transcode` makes videos that load "
        "faster, and data.loading.repeated_views takes more clips of each opened video."
    )
    return [Finding("warning", "headroom", text)]
