"""Libraries of a GPU that fail at 16-bit convolutions: by version, and by what they compute.

No test here needs a GPU: versions are invented, and faults put into the convolutions of the CPU.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.errors import UserError
from lightning_modules.cli import main
from lightning_modules.commands import fit
from lightning_modules.commands.datasets import doctor
from lightning_modules.training import gpu_libraries
from lightning_modules.training.gpu_libraries import (
    compare_convolutions,
    convolution_findings,
    refuse_known_bad_cudnn,
)
from models import get_model
from models.convolutions import Convolution, list_convolutions

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def refuse(network: str, device: torch.device, precision: str) -> None:
    refuse_known_bad_cudnn(get_model(network, 3), 8, 64, device, precision)


@pytest.mark.parametrize("version", [90800, 91002, 91400])
def test_known_bad_cudnn_is_refused(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: version)
    name = f"cuDNN 9.{version // 100 % 100}.{version % 100} computes 3D convolutions in bf16-mixed"
    for network in ("c3d_tiny", "cost_a_tiny", "cost_b_tiny"):
        with pytest.raises(UserError, match=name):
            refuse(network, CUDA, "bf16-mixed")
    with pytest.raises(UserError, match="16-true"):
        refuse("c3d_tiny", CUDA, "16-true")
    refuse("c3d_tiny", CUDA, "32-true")
    refuse("c3d_tiny", CPU, "bf16-mixed")
    refuse("tsn_tiny", CUDA, "bf16-mixed")  # 2D convolutions alone


@pytest.mark.parametrize("version", [None, 8907, 90701, 91500, 91900])
def test_other_cudnn_is_accepted(version: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: version)
    refuse("c3d_tiny", CUDA, "bf16-mixed")


def test_fit_asks_with_its_own_precision_and_device(
    motion_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(network: Any, *asked: Any) -> None:
        raise UserError(f"asked with {asked}")

    monkeypatch.setattr(fit, "refuse_known_bad_cudnn", refuse)
    small = [f"--data.num_{split}={n}" for split, n in (("train", 64), ("val", 16), ("test", 16))]
    where = [f"--data.root={motion_root}", f"--run.folder={tmp_path}", *small]
    configs = ["--config", "quickstart", "--config", "override/debug"]
    with pytest.raises(SystemExit):
        main(["fit", *configs, *where, "--trainer.precision=bf16-mixed"])
    asked = (8, 64, CPU, "bf16-mixed")
    assert f"asked with {asked}" in capsys.readouterr().err


def test_convolutions_are_those_of_the_network() -> None:
    network = get_model("c3d_tiny", 3)
    shapes = {tuple(m.weight.shape) for m in network.modules() if isinstance(m, torch.nn.Conv3d)}
    found = list_convolutions(network, 8, 64)
    in_3d = [c for c in found if c.dimensions == 3]
    assert {c.weight for c in in_3d} == shapes
    x, weight = in_3d[0].example(CPU)
    assert x.is_contiguous(memory_format=torch.channels_last_3d)
    expected = torch.nn.functional.conv3d(x, weight, None, in_3d[0].stride, in_3d[0].padding)
    torch.testing.assert_close(in_3d[0](x, weight), expected, rtol=0, atol=0)


def test_convolutions_along_any_number_of_axes_run() -> None:
    network = get_model("stnet_tiny", 3)
    found = list_convolutions(network, 16, 32)
    assert {c.dimensions for c in found} == {1, 2, 3}
    assert compare_convolutions(found, CPU, 60.0).compared == len(found)


def faulty(self: Convolution, x: Tensor, weight: Tensor) -> Tensor:
    """A convolution that loses its last output channel in bfloat16, if it is one of three axes."""
    out = sound(self, x, weight)
    if x.dtype == torch.bfloat16 and self.dimensions == 3:
        out[:, -1] = 0
    return out


sound = Convolution.__call__


def test_wrong_convolutions_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_libraries, "SLOW", float("inf"))
    network = get_model("cost_a_tiny", 3)
    (note,) = convolution_findings(network, 8, 64, CPU)
    assert note.level == "note"
    monkeypatch.setattr(Convolution, "__call__", faulty)
    convolutions = list_convolutions(network, 8, 64)
    wrong = [c for c, _ in compare_convolutions(convolutions, CPU).wrong]
    assert wrong == [c for c in convolutions if c.dimensions == 3]
    assert wrong
    (finding,) = convolution_findings(network, 8, 64, CPU)
    assert finding.level == "warning"
    assert f"{len(wrong)} of {len(convolutions)} of the network's" in finding.sentence
    assert "relative error" in finding.examples[0]


def test_slow_convolutions_are_found_within_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def slow(self: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        now[0] += 0.4 if x.dtype == torch.bfloat16 else 0.1
        return sound(self, x, weight)

    monkeypatch.setattr(Convolution, "__call__", slow)
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=lambda: now[0])
    monkeypatch.setattr(gpu_libraries, "time", clock)
    small = Convolution((1, 2, 4, 4, 4), (2, 2, 3, 3, 3), (1,) * 3, (1,) * 3, (1,) * 3, 1)
    monkeypatch.setattr(gpu_libraries, "list_convolutions", lambda *_: [small] * 100)
    (finding,) = convolution_findings(get_model("tsn_tiny", 3), 8, 64, CPU)
    assert now[0] < 4  # a second for each of two, then the time was up
    assert finding.level == "warning"
    assert "2 of the network's 100 kinds of convolutions take 4.0 times as long" in finding.sentence


def test_doctor_tries_the_network_of_the_config_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(gpu_libraries, "convolution_findings", lambda *a: asked.append(a) or [])
    spec = SimpleNamespace(sampling=SimpleNamespace(clip_len=8), crops=SimpleNamespace(size=64))
    data: Any = SimpleNamespace(spec=spec)
    arguments = {"network": "c3d_tiny", "init_from": "imagenet", "optimization": {"lr": 1.0}}
    model = {"class_path": "lightning_modules.BaselineModule", "init_args": arguments}
    for has_gpu in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_gpu=has_gpu: has_gpu)
        assert doctor._about_network(doctor._network_of(model), data, [], 3.0) == []
        assert doctor._about_network(None, data, [], 3.0) == []
    ((network, *rest),) = asked
    assert type(network) is type(get_model("c3d_tiny", 2))
    assert rest == [8, 64, CUDA]
