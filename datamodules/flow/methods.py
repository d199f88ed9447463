"""Dense optical flow between consecutive frames, by three methods.

- `tvl1`: Zach, Pock, Bischof, A Duality Based Approach for Realtime TV-L1 Optical Flow, DAGM 2007;
  OpenCV's, with its default parameters: what two-stream papers use.
- `dis`: Kroeger, Timofte, Dai, Van Gool, Fast Optical Flow using Dense Inverse Search, ECCV 2016;
  OpenCV's, preset "medium". Two orders of magnitude faster.
- `raft`: Teed, Deng, RAFT: Recurrent All-Pairs Field Transforms for Optical Flow, ECCV 2020;
  torchvision's networks, with weights from a file.

OpenCV (the extra `flow`) is imported when a method that needs it is made.
"""

import hashlib
import importlib
import pickle
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.errors import UserError
from datamodules.jobs.devices import usable_device

__all__ = ["FlowMethod", "FlowMethodName", "make_flow_method"]

FlowMethodName: TypeAlias = Literal["tvl1", "dis", "raft"]

Floats: TypeAlias = npt.NDArray[np.float32]
Frames: TypeAlias = npt.NDArray[np.uint8]
Parameters: TypeAlias = Mapping[str, int | float | bool | str]

_TVL1_GETTERS = (
    *("Tau", "Lambda", "Theta", "Gamma", "ScalesNumber", "ScaleStep", "WarpingsNumber"),
    *("Epsilon", "InnerIterations", "OuterIterations", "MedianFiltering"),
)
_DIS_GETTERS = (
    *("FinestScale", "PatchSize", "PatchStride", "GradientDescentIterations"),
    *("UseMeanNormalization", "UseSpatialPropagation", "VariationalRefinementIterations"),
    *("VariationalRefinementAlpha", "VariationalRefinementDelta", "VariationalRefinementGamma"),
)
_RAFT_MULTIPLE = 8  # its features have an eighth of the frame's size ...
_RAFT_LEAST = 128  # ... and four levels of a pyramid must fit


class FlowMethod(Protocol):
    """An estimator of every pixel's displacement from each frame to the next.

    Attributes:
        parameters: Everything that the result depends on beside the frames.
        library: Name of the library that computes it.
        version: The library's version.
    """

    parameters: Parameters
    library: str
    version: str

    def estimate(self, frames: Frames) -> Floats:
        """Estimate the flow of consecutive frames.

        Args:
            frames: RGB frames, (T, H, W, 3), T >= 2.

        Returns:
            Displacement of each pixel from frame t to frame t + 1 in pixels, (T - 1, 2, H, W):
            to the right, then down.
        """
        ...


def make_flow_method(
    name: FlowMethodName, weights: Path | None = None, device: str | None = None
) -> FlowMethod:
    """Make a method by name.

    Args:
        name: Name of the method.
        weights: State dict of torchvision's `raft_large` or `raft_small`; `raft` needs it, the
            others have none.
        device: Device of `raft`, `cpu` by default; the others know only the CPU.

    Raises:
        UserError: If there is no such method, OpenCV is needed and absent, the weights or the
            device do not fit the method, or the weights cannot be read.
    """
    if name not in get_args(FlowMethodName):
        raise UserError(f"there is no flow method {name!r}; set method to tvl1, dis or raft")
    if name == "raft":
        if weights is None:
            raise UserError(
                "method raft needs trained weights; set weights to a file with the state dict of "
                "torchvision's raft_large or raft_small"
            )
        return _RAFT(weights, usable_device(device or "cpu"))
    for argument, value in (("weights", weights), ("device", device)):
        if value is not None:
            raise UserError(
                f"{argument}={value} has no meaning for method {name}, which has no network; "
                f"leave out {argument}, or set method to raft"
            )
    return _OpenCV(name)


class _OpenCV:
    """A method of OpenCV, on grey frames and one thread: only videos are done in parallel.

    Args:
        name: `tvl1` or `dis`.
    """

    def __init__(self, name: Literal["tvl1", "dis"]) -> None:
        try:
            self._cv2 = importlib.import_module("cv2")
            if name == "tvl1":
                self._make = self._cv2.optflow.DualTVL1OpticalFlow_create
            else:
                preset = self._cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
                self._make = partial(self._cv2.DISOpticalFlow_create, preset)
            made = self._make()
        except (ImportError, AttributeError) as error:  # not there, or a wheel without contrib
            raise UserError(
                f"method {name} needs OpenCV with its contrib modules ({error}); install the extra "
                "`flow` (opencv-contrib-python-headless alone, beside no other OpenCV), or set "
                "method to raft"
            ) from error
        self._cv2.setNumThreads(1)
        self.library, self.version = "opencv", str(self._cv2.__version__)
        getters = _TVL1_GETTERS if name == "tvl1" else _DIS_GETTERS
        self.parameters: Parameters = {
            getter: getattr(made, f"get{getter}")() for getter in getters
        }

    def estimate(self, frames: Frames) -> Floats:
        """See `FlowMethod.estimate`."""
        grey = [self._cv2.cvtColor(frame, self._cv2.COLOR_RGB2GRAY) for frame in frames]
        flow = np.empty((len(frames) - 1, 2, *frames.shape[1:3]), np.float32)
        for target, first, second in zip(flow, grey, grey[1:], strict=False):
            # a new one each time: DIS (OpenCV 5.0) takes over from the pair before at some sizes
            target[:] = self._make().calc(first, second, None).transpose(2, 0, 1)
        return flow


class _RAFT:
    """torchvision's RAFT, large or small, whichever the weights are of.

    Args:
        weights: File with a state dict.
        device: Device to compute on.

    Raises:
        UserError: The file cannot be read, or holds the weights of something else.
    """

    def __init__(self, weights: Path, device: torch.device) -> None:
        state = _read_state_dict(weights)
        name, network = _raft_of(state, weights)
        self._device = device
        self._network = network.to(device).eval()
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        self.parameters: Parameters = {"network": name, "weights_sha256": digest}
        self.library, self.version = "torch", str(torch.__version__)

    @torch.inference_mode()
    def estimate(self, frames: Frames) -> Floats:
        """See `FlowMethod.estimate`."""
        clip = torch.from_numpy(np.ascontiguousarray(frames)).to(self._device)
        clip = clip.permute(0, 3, 1, 2).float() / 127.5 - 1  # (T, 3, H, W) in [-1, 1]
        height, width = clip.shape[2:]
        clip = F.pad(clip, (0, _padding(width), 0, _padding(height)), mode="replicate")
        flow: Tensor = self._network(clip[:-1], clip[1:])[-1]  # the last refinement
        return flow[..., :height, :width].cpu().numpy()


def _padding(size: int) -> int:
    """Count the pixels to add so that RAFT takes a side."""
    return max(_RAFT_LEAST, -(-size // _RAFT_MULTIPLE) * _RAFT_MULTIPLE) - size


def _read_state_dict(weights: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{weights} cannot be read as weights ({reason}); set weights to a local file with a "
            "state dict"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{weights} holds no state dict; set weights to a file that does")
    return state


def _raft_of(state: dict[str, Any], weights: Path) -> tuple[str, nn.Module]:
    """Make the RAFT network that a state dict fits, with its weights."""
    from torchvision.models.optical_flow import raft_large, raft_small

    for name, factory in (("raft_large", raft_large), ("raft_small", raft_small)):
        with torch.device("meta"):
            network: nn.Module = factory(weights=None)
        expected = {key: value.shape for key, value in network.state_dict().items()}
        if expected == {key: value.shape for key, value in state.items()}:
            network.load_state_dict(state, assign=True)
            return name, network.requires_grad_(False)
    raise UserError(
        f"{weights} holds the weights of neither raft_large nor raft_small of torchvision; set "
        "weights to a file of one of these"
    )
