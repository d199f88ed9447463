"""Frozen layers stay frozen; a divided batch is its parts, normalised one after another."""

import ast
import copy
import pickle
import sys
from types import ModuleType

import pytest
import torch
from conftest import PROJECT_ROOT
from torch import Tensor, nn

from models import VideoNetwork, get_model, list_models
from models.checkpointing import checkpoint_blocks
from models.norm import (
    ControlledBatchNorm,
    FrameBatchNorm2d,
    batch_norms,
    freeze_batch_norm,
    replace_batch_norms,
    set_batch_norm_momentum,
    split_batch_norm,
)
from models.registry import MODELS

LAYERS: list[tuple[type[nn.Module], tuple[int, ...]]] = [
    (nn.BatchNorm1d, (5,)),
    (nn.BatchNorm1d, (5, 7)),
    (nn.BatchNorm2d, (5, 4, 3)),
    (nn.BatchNorm3d, (5, 2, 4, 3)),
    (FrameBatchNorm2d, (5, 2, 4, 3)),
]


def train_step(network: nn.Module, clip: Tensor) -> Tensor:
    """Output of a training step whose gradients are left on the parameters."""
    out: Tensor = network.train()(clip)
    (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    return out.detach()


def same_training(ours: nn.Module, reference: nn.Module) -> None:
    """Check that gradients and running statistics are the same numbers."""
    state = reference.state_dict()
    assert list(ours.state_dict()) == list(state)
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, state[name], msg=name)
    gradients = dict(reference.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad, msg=name)


@pytest.mark.parametrize(("kind", "shape"), LAYERS)
def test_divided_batch_equals_its_parts_in_turn(
    kind: type[nn.Module], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    reference = kind(5).double()
    nn.init.normal_(reference.weight)
    nn.init.normal_(reference.bias)
    ours = replace_batch_norms(copy.deepcopy(reference))
    split_batch_norm(ours, 3)
    x = torch.randn(6, *shape, dtype=torch.double)
    weights = torch.randn_like(x)
    parts = torch.cat([reference(x[:2]), reference(x[2:4]), reference(x[4:])])
    (parts * weights).sum().backward()
    out = ours(x)
    (out * weights).sum().backward()
    torch.testing.assert_close(out, parts)
    same_training(ours, reference)
    assert not torch.allclose(out, copy.deepcopy(reference)(x))
    ours.eval()
    reference.eval()
    torch.testing.assert_close(ours(x), reference(x))


def test_divided_batch_goes_through_a_network_video_by_video() -> None:
    torch.manual_seed(0)
    reference = get_model("c2d_tiny", 4, dropout=0.0)
    ours = copy.deepcopy(reference)
    split_batch_norm(ours, 2)
    clip = torch.randn(4, 3, 4, 32, 32)
    parts = torch.cat([reference.train()(clip[:2]), reference(clip[2:])])
    parts.pow(2).sum().backward()
    out = ours.train()(clip)
    out.pow(2).sum().backward()
    torch.testing.assert_close(out, parts)
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, reference.state_dict()[name])


@pytest.mark.parametrize("keep_first", [False, True])
@pytest.mark.parametrize("name", ["c3d_tiny", "two_stream_tiny"])
def test_frozen_layers_survive_training(name: str, keep_first: bool) -> None:
    torch.manual_seed(0)
    network = get_model(name, 4)
    freeze_batch_norm(network, keep_first=keep_first)
    before = copy.deepcopy(network.state_dict())
    network.eval().train()
    network(*network.example_inputs(2, 4, 32)).sum().backward()
    torch.optim.SGD([p for p in network.parameters() if p.grad is not None], lr=1.0).step()
    norms = {
        n for n, m in network.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
    }
    touched = {
        key.rpartition(".")[0]
        for key, value in network.state_dict().items()
        if not torch.equal(value, before[key])
    }
    stems = {"c3d_tiny": {"bn1"}, "two_stream_tiny": {"rgb.bn1", "flow.bn1"}}[name]
    assert touched & norms == (stems if keep_first else set())
    assert touched - norms


def test_frozen_layer_uses_running_statistics_in_training() -> None:
    network = get_model("tsn_tiny", 4, dropout=0.0)
    freeze_batch_norm(network)
    clip = torch.randn(2, 3, 2, 32, 32)
    torch.testing.assert_close(network.train()(clip), network.eval()(clip))


@pytest.mark.parametrize("way", ["copied", "pickled"])
def test_control_keeps_names_and_survives_a_copy(way: str) -> None:
    network = get_model("c2d_tiny", 4)
    names = list(network.state_dict())
    split_batch_norm(network, 2)
    freeze_batch_norm(network, keep_first=True)
    twin = copy.deepcopy(network) if way == "copied" else pickle.loads(pickle.dumps(network))
    (clip,) = network.example_inputs(2, 4, 32)
    torch.testing.assert_close(twin.eval()(clip), network.eval()(clip))
    assert next(twin.parameters()).data_ptr() != next(network.parameters()).data_ptr()
    assert list(twin.state_dict()) == names
    twin.train()
    controlled = [layer for layer in batch_norms(twin) if isinstance(layer, ControlledBatchNorm)]
    assert len(controlled) == len(list(batch_norms(network)))
    assert [layer.frozen for layer in controlled] == [False] + [True] * (len(controlled) - 1)
    assert {layer.num_groups for layer in controlled} == {2}
    first = controlled[0]
    assert replace_batch_norms(first) is first
    assert type(first) is type(next(batch_norms(network)))


@pytest.mark.parametrize("name", list_models())
def test_every_layer_of_every_network_is_ours(name: str) -> None:
    if name.endswith("irv2"):
        pytest.importorskip("timm", reason="stnet_irv2 needs the extra timm")
    with torch.device("meta"):
        network = get_model(name, 4)
    kinds = [type(layer) for layer in batch_norms(network)]
    assert kinds
    assert all(issubclass(kind, ControlledBatchNorm) for kind in kinds)
    freeze_batch_norm(network, keep_first=True)
    split_batch_norm(network, 2)
    assert [type(layer) for layer in batch_norms(network)] == kinds


def test_layers_of_torch_are_named_in_one_file_only() -> None:
    layers = {"BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"}
    users = {
        path.name
        for path in (PROJECT_ROOT / "models").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in layers
    }
    assert users == {"norm.py"}


class Foreign(VideoNetwork):
    """A user's own network, written with torch's layers."""

    def __init__(self, arch: str, num_classes: int) -> None:
        super().__init__(4, classifier_std=0.01)
        self.trunk = nn.ModuleDict({"conv": nn.Conv3d(3, 4, 1), "bn": nn.BatchNorm3d(4, eps=0.1)})
        self.bn = nn.BatchNorm1d(4, momentum=None, affine=False)
        self.reset_classifier(num_classes)

    def forward_features(self, clip: Tensor) -> Tensor:
        x: Tensor = self.trunk["bn"](self.trunk["conv"](clip))
        return self.bn(x.mean((2, 3, 4)))[..., None, None, None]

    def forward_head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.fc(features.flatten(1))
        return logits


def test_network_of_torchs_layers_trains_as_before_and_can_be_controlled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("foreign")
    module.Foreign = Foreign  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "foreign", module)
    monkeypatch.setitem(MODELS, "foreign_r1", "foreign:Foreign")
    reference = Foreign("r1", 5)
    with pytest.raises(ValueError, match=r"holds a BatchNorm3d, which can be neither frozen nor"):
        split_batch_norm(reference, 2)
    with pytest.raises(ValueError, match=r"call models\.norm\.replace_batch_norms on the new"):
        freeze_batch_norm(reference)
    reference.train()

    ours = get_model("foreign_r1", 5)
    ours.load_state_dict(reference.state_dict())
    (clip,) = reference.example_inputs(4, 2, 8)
    assert torch.equal(train_step(ours, clip), train_step(reference, clip))
    same_training(ours, reference)

    freeze_batch_norm(ours)
    before = copy.deepcopy(dict(ours.named_buffers()))
    train_step(ours, clip)
    assert all(torch.equal(before[name], buffer) for name, buffer in ours.named_buffers())


def test_replacement_takes_over_what_the_layer_holds() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3, eps=0.5, momentum=0.3), nn.ReLU()).eval()
    network[0].weight.requires_grad_(False)
    held = {**dict(network.named_parameters()), **dict(network.named_buffers())}

    assert replace_batch_norms(network) is network

    ours = network[0]
    assert isinstance(ours, ControlledBatchNorm)
    assert (ours.eps, ours.momentum, ours.training) == (0.5, 0.3, False)
    now = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    assert list(now) == list(held)
    assert all(now[name] is held[name] for name in held)
    assert not ours.weight.requires_grad


def test_synchronised_layers_are_refused() -> None:
    network = nn.SyncBatchNorm.convert_sync_batchnorm(get_model("tsn_tiny", 4))
    for control in (freeze_batch_norm, lambda network: split_batch_norm(network, 2)):
        with pytest.raises(ValueError, match="holds a SyncBatchNorm"):
            control(network)


def test_momentum_is_the_weight_of_the_new_batch() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2))
    set_batch_norm_momentum(network, 0.05)
    network(torch.tensor([[10.0, 0.0], [30.0, 0.0]]))
    assert network[0].running_mean.tolist() == pytest.approx([0.05 * 20, 0])


@pytest.mark.parametrize("name", ["cost_b_tiny", "tsm_tiny", "st_resnet_tiny"])
def test_checkpointed_blocks_train_alike(name: str) -> None:
    torch.manual_seed(0)
    reference = get_model(name, 4, dropout=0.0)
    ours = copy.deepcopy(reference)
    split_batch_norm(ours, 2)
    split_batch_norm(reference, 2)
    checkpoint_blocks(ours)
    inputs = reference.example_inputs(4, 4, 32)
    for network in (reference, ours):
        network.train()
        network(*inputs).pow(2).sum().backward()
    same_training(ours, reference)


def test_checkpointed_blocks_keep_fewer_activations() -> None:
    kept = []
    for wanted in (False, True):
        network = get_model("tsm_tiny", 4)
        if wanted:
            checkpoint_blocks(network)
        sizes: list[int] = []

        def pack(x: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            network(*network.example_inputs(2, 4, 32))
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2


def test_checkpointing_needs_blocks() -> None:
    with pytest.raises(ValueError, match="no residual blocks"):
        checkpoint_blocks(nn.Linear(2, 2))
