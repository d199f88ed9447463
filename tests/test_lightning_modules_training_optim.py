"""Parameter groups and learning rate schedules."""

import math

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from datamodules import UserError
from lightning_modules import BaselineModule
from lightning_modules.training.optim import (
    Optimization,
    lr_factor,
    make_optimizer,
    parameter_groups,
)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=True)
        self.bn1 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 2)


def test_groups_hold_every_parameter_once() -> None:
    network = Net()
    network.conv1.bias.requires_grad_(False)
    groups = parameter_groups(network, 0.1, 1e-4)
    members = [id(p) for group in groups for p in group["params"]]
    wanted = [id(p) for p in network.parameters() if p.requires_grad]
    assert sorted(members) == sorted(wanted)
    assert {g["name"] for g in groups} == {
        "weights",
        "norm_scales",
        "norm_shifts",
        "head_weights",
        "head_biases",
    }


def test_groups_follow_the_papers_multipliers() -> None:
    groups = parameter_groups(
        Net(),
        0.1,
        5e-4,
        bias_lr_multiplier=2,
        norm_scale_lr_multiplier=3,
        head_lr_multiplier=10,
        decay_bias=False,
        decay_norm=False,
    )
    found = {g["name"]: (g["lr"], g["weight_decay"]) for g in groups}
    assert found == {
        "weights": (0.1, 5e-4),
        "biases": (0.2, 0.0),
        "norm_scales": (pytest.approx(0.3), 0.0),
        "norm_shifts": (0.1, 0.0),
        "head_weights": (1.0, 5e-4),
        "head_biases": (2.0, 0.0),
    }
    torch.optim.SGD(groups)


def test_everything_decays_by_default() -> None:
    groups = parameter_groups(Net(), 0.1, 1e-4)
    assert {(g["lr"], g["weight_decay"]) for g in groups} == {(0.1, 1e-4)}


def test_every_named_classifier_is_a_head() -> None:
    network = nn.ModuleDict({"rgb": Net(), "flow": Net()})
    groups = parameter_groups(
        network, 0.1, 0, classifiers=("rgb.fc", "flow.fc"), head_lr_multiplier=5
    )
    heads = [p for g in groups if g["lr"] == 0.5 for p in g["params"]]
    wanted = [*network["rgb"].fc.parameters(), *network["flow"].fc.parameters()]
    assert {id(p) for p in heads} == {id(p) for p in wanted}


def test_cosine_falls_from_one_to_zero() -> None:
    factor = lr_factor("cosine", total_steps=100, steps_per_epoch=10)
    assert factor(0) == 1
    assert factor(50) == pytest.approx(0.5)
    assert factor(100) == pytest.approx(0)
    assert factor(25) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))


def test_step_falls_at_its_milestones() -> None:
    factor = lr_factor("step", 100, 10, milestones=[3, 6], gamma=0.1)
    assert [factor(s) for s in (0, 29, 30, 59, 60, 99)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )


def test_warmup_rises_linearly_then_follows_the_schedule() -> None:
    factor = lr_factor("constant", 100, 10, warmup_epochs=0.4)
    assert [factor(s) for s in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


def test_adamw_remembers_as_long_as_asked() -> None:
    network = nn.Linear(2, 2)
    settings = Optimization(optimizer="adamw", lr=0.1, betas=(0.8, 0.9))
    optimizer = make_optimizer(settings, network, (), 1.0)
    assert isinstance(optimizer, AdamW)
    assert {group["betas"] for group in optimizer.param_groups} == {(0.8, 0.9)}


def test_memory_of_adamw_is_checked() -> None:
    with pytest.raises(UserError, match=r"betas=\[0\.9, 1\.0\] must lie in \[0, 1\)"):
        Optimization(optimizer="adamw", betas=(0.9, 1.0))
    sgd = Optimization(betas=(0.9, 0.98))
    with pytest.raises(UserError, match=r"betas=\(0\.9, 0\.98\) is for adamw, .* is sgd"):
        BaselineModule("tsn_tiny", num_classes=8, optimization=sgd)
