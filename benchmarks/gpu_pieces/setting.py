"""What all pieces share: the device, the networks at their papers' sizes, and a clock."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models import VideoNetwork, get_model


@dataclass(frozen=True)
class Setting:
    """Where measurements run.

    Attributes:
        device: The device.
        tiny: Small networks and clips, to try the whole without a GPU.
        out: Folder of what they write.
    """

    device: torch.device
    tiny: bool
    out: Path

    @property
    def is_gpu(self) -> bool:
        """Whether the device is one of NVIDIA's or AMD's."""
        return self.device.type == "cuda"

    def finish(self) -> None:
        """Wait for the device."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)

    def clean(self) -> None:
        """Give memory back between measurements."""
        gc.collect()
        if self.is_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gb(self) -> float | None:
        """Most memory that tensors took since `clean`, in GB; None where nothing counts it."""
        if not self.is_gpu:
            return None
        return round(torch.cuda.max_memory_allocated(self.device) / 1e9, 2)

    def seconds(self, run: Callable[[], Any], repeats: int = 10) -> float:
        """Time a call: the median of several, after two that do not count."""
        times = []
        for _ in range(repeats + 2):
            self.finish()
            begun = time.perf_counter()
            run()
            self.finish()
            times.append(time.perf_counter() - begun)
        return statistics.median(times[2:])


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        name: It is done once for each name.
        run: Returns the values by name.
        seconds: What it may take on an H200.
    """

    name: str
    run: Callable[[], dict[str, Any]]
    seconds: float


@dataclass(frozen=True)
class Subject:
    """A network at its paper's size.

    Attributes:
        name: Its name.
        frames: T of a clip.
        size: Side of a frame, in pixels.
        batch: Clips of a training step on one large GPU.
        classes: Number of classes.
    """

    name: str
    frames: int
    size: int
    batch: int
    classes: int = 400

    def make(self, **options: Any) -> VideoNetwork:
        """Build it with the same weights every time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return get_model(self.name, self.classes, **options)


_PAPERS = (
    *(Subject(name, 8, 224, 32) for name in ("cost_a_r50", "cost_b_r50")),
    Subject("selfy_tsm_r50", 8, 224, 32, 174),
    Subject("stnet_r50", 35, 224, 16),
    Subject("st_resnet_r50", 5, 224, 16, 101),
    *(Subject(name, 8, 224, 32) for name in ("c2d_r50", "c3d_r50", "tsn_r50", "tsm_r50")),
    Subject("two_stream_r50", 1, 224, 32, 101),
)
_TINY = (
    *(Subject(name, 8, 32, 4, 8) for name in ("cost_a_tiny", "cost_b_tiny", "selfy_tsm_tiny")),
    Subject("stnet_tiny", 16, 32, 4, 8),
    Subject("st_resnet_tiny", 5, 32, 4, 8),
    *(Subject(name, 8, 32, 4, 8) for name in ("c2d_tiny", "c3d_tiny", "tsn_tiny", "tsm_tiny")),
    Subject("two_stream_tiny", 1, 32, 4, 8),
)


def subjects(setting: Setting) -> tuple[Subject, ...]:
    """The four families, then the baselines."""
    return _TINY if setting.tiny else _PAPERS


def families(setting: Setting) -> tuple[Subject, ...]:
    """One network of each of the four families."""
    names = ("cost_a", "selfy_tsm", "stnet", "st_resnet")
    return tuple(s for s in subjects(setting) if s.name.startswith(names))


@contextmanager
def exact_float32() -> Iterator[None]:
    """Multiply in float32 with all its bits, where a GPU would round to TF32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def compiled(network: nn.Module, mode: str = "default") -> nn.Module:
    """Compile a network's call, the shape of its input fixed."""
    torch._dynamo.reset()
    made: nn.Module = torch.compile(network, dynamic=False, mode=mode)  # type: ignore[assignment]
    return made


def relative(found: Tensor, truth: Tensor) -> float:
    """Relative error in the Euclidean norm, with three digits."""
    difference = found.double().cpu() - truth.double().cpu()
    return float(f"{float(difference.norm() / truth.double().cpu().norm()):.3g}")
