"""Coding of flow, and the methods against motion that is known."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torchvision.models.optical_flow import raft_small

from datamodules.flow.coding import ZERO_CODE, FlowCoding
from datamodules.flow.methods import FlowMethodName, make_flow_method

Floats = npt.NDArray[np.floating]
ALL_CODES = np.arange(256, dtype=np.uint8)
BORDER = 8  # pixels at the edges, where motion brings in what the first frame does not show


@pytest.mark.parametrize("bound", [1.0, 15.0, 20.0, 32.5])
def test_zero_motion_is_128_and_codes_come_back(bound: float) -> None:
    coding = FlowCoding(bound)

    assert coding.encode(np.zeros(1)) == coding.encode(np.zeros(1, np.float32)) == ZERO_CODE == 128
    assert np.array_equal(coding.encode(coding.decode(ALL_CODES)), ALL_CODES)
    assert coding.decode(ALL_CODES).dtype == np.float32


def test_coding_is_the_stated_formula() -> None:
    flow = np.random.default_rng(0).uniform(-25, 25, size=(50, 2, 3, 4))

    codes = FlowCoding(20).encode(flow.astype(np.float32))

    stated = [min(max(int((d + 20) * 255 / 40 + 0.5), 0), 255) for d in flow.astype("f4").ravel()]
    assert codes.ravel().tolist() == stated
    assert codes.dtype == np.uint8


def test_decoded_motion_is_within_half_a_step_and_long_motion_is_cut() -> None:
    coding = FlowCoding(20)
    flow = np.linspace(-20, 20, 10_001, dtype=np.float32)

    assert coding.step == pytest.approx(40 / 255)
    assert np.abs(coding.decode(coding.encode(flow)) - flow).max() <= coding.step / 2 + 1e-5
    long = np.array([-1e6, -20.5, 20.5, 1e6], np.float32)
    assert coding.encode(long).tolist() == [0, 0, 255, 255]
    assert coding.clipped_share(np.concatenate([long, flow[1:5]])) == 0.5


def test_mirrored_motion_has_the_mirrored_code() -> None:
    coding = FlowCoding(20)
    flow = np.random.default_rng(1).uniform(-25, 25, size=1000)

    assert np.array_equal(coding.encode(-flow), 255 - coding.encode(flow))


@pytest.mark.parametrize("bound", [0, -1, float("inf"), float("nan")])
def test_impossible_bound_is_refused(bound: float) -> None:
    with pytest.raises(ValueError, match="bound must be a number of pixels above 0"):
        FlowCoding(bound)


def texture(x: Floats, y: Floats) -> npt.NDArray[np.uint8]:
    """Grey waves of many directions at any points, as RGB, (H, W, 3)."""
    rng = np.random.default_rng(3)
    value = np.zeros_like(x, dtype=np.float64)
    for _ in range(24):
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(6, 24)
        phase = rng.uniform(0, 2 * np.pi)
        value += np.sin(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / length + phase)
    return np.repeat(np.clip(128 + 18 * value, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def shift(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    return np.full_like(x, 3.0), np.full_like(y, -1.0)


def sub_pixel(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    return np.full_like(x, -0.4), np.full_like(y, 0.3)


def turn(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    angle = np.radians(3)
    return np.cos(angle) * x - np.sin(angle) * y - x, np.sin(angle) * x + np.cos(angle) * y - y


def zoom(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    return 0.05 * x, 0.05 * y


def inverse(motion: Callable[[Floats, Floats], tuple[Floats, Floats]], x: Floats, y: Floats) -> ...:
    """Where the points of the second frame come from, by iteration."""
    from_x, from_y = x, y
    for _ in range(20):
        dx, dy = motion(from_x, from_y)
        from_x, from_y = x - dx, y - dy
    return from_x, from_y


@pytest.mark.parametrize("method", ["dis", "tvl1"])
@pytest.mark.parametrize(
    ("motion", "error"), [(shift, 0.5), (sub_pixel, 0.15), (turn, 0.3), (zoom, 0.3)]
)
def test_known_motion_is_found(
    method: FlowMethodName,
    motion: Callable[[Floats, Floats], tuple[Floats, Floats]],
    error: float,
) -> None:
    pytest.importorskip("cv2", reason="needs the extra `flow`")
    y, x = np.mgrid[-32.0:32.0, -40.0:40.0]
    frames = np.stack([texture(x, y), texture(*inverse(motion, x, y))])

    flow = make_flow_method(method).estimate(frames)

    assert flow.shape == (1, 2, 64, 80)
    off = np.hypot(*(flow[0] - np.stack(motion(x, y))))[BORDER:-BORDER, BORDER:-BORDER]
    assert off.mean() < error


@pytest.mark.parametrize("method", ["dis", "tvl1"])
def test_still_frames_have_no_motion_and_one_thread_is_used(method: FlowMethodName) -> None:
    cv2 = pytest.importorskip("cv2", reason="needs the extra `flow`")
    y, x = np.mgrid[-32.0:32.0, -40.0:40.0]

    flow = make_flow_method(method).estimate(np.stack([texture(x, y)] * 4))

    assert flow.shape == (3, 2, 64, 80)
    assert np.all(FlowCoding().encode(flow) == ZERO_CODE)
    assert cv2.getNumThreads() == 1


@pytest.mark.parametrize("method", ["dis", "tvl1"])
def test_flow_of_a_pair_does_not_depend_on_the_pairs_before(method: FlowMethodName) -> None:
    pytest.importorskip("cv2", reason="needs the extra `flow`")
    noise = np.random.default_rng(0).integers(0, 255, (6, 32, 45, 1), dtype=np.uint8)
    moved = noise.repeat(3, axis=3)  # at this size one object of DIS for all pairs is not enough

    together = make_flow_method(method).estimate(np.stack(moved))

    for t in range(5):
        alone = make_flow_method(method).estimate(np.stack(moved[t : t + 2]))
        assert np.array_equal(together[t], alone[0])


@pytest.fixture(scope="module")
def raft_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "raft.pth"
    torch.save(raft_small(weights=None).state_dict(), path)
    return path


@pytest.mark.usefixtures("one_thread")  # RAFT is many small steps
def test_raft_equals_torchvisions_network(raft_weights: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 128, 136, 3), dtype=np.uint8)
    method = make_flow_method("raft", raft_weights)

    flow = method.estimate(frames)

    network = raft_small(weights=None).eval()
    network.load_state_dict(torch.load(raft_weights, weights_only=True))
    clip = (torch.from_numpy(frames).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.no_grad():
        expected = network(clip[:2], clip[1:])[-1]
    assert method.parameters["network"] == "raft_small"
    torch.testing.assert_close(torch.from_numpy(flow), expected)


@pytest.mark.usefixtures("one_thread")  # RAFT is many small steps
def test_raft_takes_frames_of_any_size(raft_weights: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 45, 131, 3), dtype=np.uint8)

    flow = make_flow_method("raft", raft_weights).estimate(frames)

    assert flow.shape == (1, 2, 45, 131)
    assert np.isfinite(flow).all()


def write_bytes(path: Path) -> Path:
    path.write_bytes(b"no weights")
    return path


def write_state(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda p: None, "raft needs trained weights"),
        (lambda p: p / "absent.pth", "cannot be read as weights"),
        (lambda p: write_bytes(p / "a.pth"), "cannot be read as weights"),
        (lambda p: write_state(p / "a.pth", [1]), "holds no state dict"),
        (lambda p: write_state(p / "a.pth", {"w": torch.ones(1)}), "neither raft_large nor"),
    ],
)
def test_raft_without_its_weights_is_refused(
    make: Callable[[Path], Path | None], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_flow_method("raft", make(tmp_path))


def test_raft_on_a_device_that_is_not_there_is_refused(raft_weights: Path) -> None:
    with pytest.raises(ValueError, match="device=nonsense cannot be used here"):
        make_flow_method("raft", raft_weights, "nonsense")


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("brox", {}, "no flow method 'brox'; set method to tvl1, dis or raft"),
        ("dis", {"device": "cuda"}, "device=cuda has no meaning for method dis"),
        ("tvl1", {"weights": Path("a")}, "weights=a has no meaning for method tvl1"),
    ],
)
def test_what_a_method_does_not_know_is_refused(
    name: FlowMethodName, settings: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_flow_method(name, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("module", [None, SimpleNamespace()], ids=["absent", "without contrib"])
def test_absent_opencv_gets_one_sentence(
    module: SimpleNamespace | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", module)

    with pytest.raises(ValueError, match=r"tvl1 needs OpenCV with its contrib.*extra `flow`"):
        make_flow_method("tvl1")
