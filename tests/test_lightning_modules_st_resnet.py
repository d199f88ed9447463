"""STResNetModule: a loss per chunk and stream, both streams' starting weights, the code's rules."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import QUIET
from grouped import module_settings, network_of
from lightning.pytorch import Trainer
from torch import Tensor, nn

from datamodules import HMDB51DataModule, MotionShapesDataModule, UCF101DataModule
from datamodules.base import VideoDataModule
from datamodules.clips.clip_sampler import FrameSampler
from datamodules.clips.crops import Crops
from datamodules.data_spec import DataSpec
from datamodules.settings import Loading
from lightning_modules import STResNetModule
from lightning_modules.training.initialization import initialize
from lightning_modules.training.optim import parameter_groups
from models import load_weights

CLASSES = ["a", "b", "c"]
SMALL: dict[str, Any] = {"num_classes": 3, "flow_length": 2}


def spec_of(data: VideoDataModule) -> DataSpec:
    return DataSpec(dataset=data.dataset_name, seen_by=data.seen_by)


def batch_of(views: int = 1) -> Any:
    generator = torch.Generator().manual_seed(0)
    return {
        "clips": torch.randn(2, views, 3, 5, 32, 32, generator=generator),
        "flow": torch.randn(2, views, 4, 5, 32, 32, generator=generator),
        "label": torch.tensor([2, 0]),
    }


def save_run(
    path: Path, module: STResNetModule, class_names: list[str], dataset: str = "UCF101 split 1"
) -> str:
    """A file with what `init_from` reads of a checkpoint."""
    parts = {"state_dict": module.state_dict(), "class_names": class_names}
    parts |= {"network": network_of(module)}
    torch.save({**parts, "protocol": {"dataset": dataset}}, path)
    return str(path)


@pytest.mark.parametrize(
    ("network", "num_chunks"),
    [
        ("rgb_stream_tiny", 5),
        ("flow_stream_tiny", 5),
        ("two_stream_tiny", 10),
        ("st_resnet_tiny", 10),
    ],
)
def test_loss_is_summed_over_chunks_and_streams(network: str, num_chunks: int) -> None:
    torch.manual_seed(0)
    options = {"num_classes": 3} if network == "rgb_stream_tiny" else SMALL
    module = STResNetModule(network, **options, label_smoothing=0.1)
    batch = batch_of()
    loss, logits = module.loss(batch)
    total, count = torch.zeros(()), 0
    streams = module.network.forward_streams(*module.inputs(batch))  # type: ignore[operator]
    for stream in streams:
        for video, label in enumerate(batch["label"].tolist()):
            for chunk in stream[video]:
                wanted = torch.full((3,), 0.1 / 3)
                wanted[label] += 0.9
                total = total - (wanted * chunk.log_softmax(0)).sum() / 2
                count += 1
    assert count == 2 * num_chunks
    torch.testing.assert_close(loss, total)
    torch.testing.assert_close(logits, torch.cat(streams, 1).mean(1))


@pytest.mark.parametrize("network", ["two_stream_tiny", "st_resnet_tiny"])
def test_joint_softmax_has_one_loss_for_both_streams_of_a_chunk(network: str) -> None:
    torch.manual_seed(0)
    module = STResNetModule(network, **SMALL, label_smoothing=0.1, joint_softmax=True)
    batch = batch_of()
    loss, logits = module.loss(batch)
    inputs = module.inputs(batch)
    appearance, motion = module.network.forward_streams(*inputs)  # type: ignore[operator]
    total = torch.zeros(())
    for video, label in enumerate(batch["label"].tolist()):
        for chunk in range(5):
            both = (appearance[video, chunk] + motion[video, chunk]) / 2
            wanted = torch.full((3,), 0.1 / 3)
            wanted[label] += 0.9
            total = total - (wanted * (both - both.exp().sum().log())).sum() / 2
    torch.testing.assert_close(loss, total)
    torch.testing.assert_close(logits, torch.cat([appearance, motion], 1).mean(1))
    module.eval()
    other = STResNetModule(network, **SMALL).eval()
    other.load_state_dict(module.state_dict())
    with torch.no_grad():  # what is tested knows nothing of it
        assert torch.equal(module.view_logits(batch), other.view_logits(batch))


def test_joint_softmax_gives_both_streams_half_of_one_gradient() -> None:
    torch.manual_seed(0)
    gradients = {}
    streams = (torch.randn(2, 5, 3), torch.randn(2, 5, 3))
    for joint in (False, True):
        module = STResNetModule("two_stream_tiny", **SMALL, joint_softmax=joint)
        scores = [x.clone().requires_grad_() for x in streams]
        module.forward_streams = lambda *_, scores=scores: tuple(scores)
        module.loss(batch_of())[0].backward()
        gradients[joint] = [x.grad for x in scores]
    assert torch.equal(*gradients[True])
    assert not torch.equal(*gradients[False])
    mean, hot = sum(streams) / 2, torch.eye(3)[batch_of()["label"]][:, None]
    torch.testing.assert_close(gradients[True][0], (mean.softmax(2) - hot) / 2 / 2)  # 2 videos
    torch.testing.assert_close(gradients[False][0], (streams[0].softmax(2) - hot) / 2)


@pytest.mark.parametrize("network", ["rgb_stream_tiny", "flow_stream_tiny"])
def test_one_stream_has_no_joint_softmax(network: str) -> None:
    with pytest.raises(ValueError, match=f"joins two streams, and {network} is one; leave it out"):
        STResNetModule(network, num_classes=3, joint_softmax=True)


def test_views_enter_as_samples_of_both_modalities() -> None:
    module = STResNetModule("two_stream_tiny", **SMALL).eval()
    batch = batch_of(views=3)
    clip, flow = module.inputs(batch)
    assert (clip.shape, flow.shape) == ((6, 3, 5, 32, 32), (6, 4, 5, 32, 32))
    torch.testing.assert_close(flow[4], batch["flow"][1, 1])
    module.views_at_once = 4
    with torch.no_grad():
        found = module.view_logits(batch)
        alone = module(batch["clips"][1, 2:], batch["flow"][1, 2:])
    torch.testing.assert_close(found[1, 2:], alone)


def test_missing_flow_is_named(motion_root: Path) -> None:
    sizes = {"num_train": 64, "num_val": 16, "num_test": 16}
    data = MotionShapesDataModule(
        str(motion_root),
        **sizes,
        loading=Loading(num_workers=0, batch_size=4),
        sampling=FrameSampler(num_frames=2, frame_stride=2),
        crops=Crops(size=32),
    )
    trainer = Trainer(max_epochs=1, enable_checkpointing=False, **QUIET)
    with pytest.raises(ValueError, match="st_resnet_tiny needs flow, but the batches hold none"):
        trainer.fit(STResNetModule("st_resnet_tiny", num_classes=8), data)


def test_learning_rates_follow_the_code() -> None:
    module = STResNetModule("st_resnet_tiny", **SMALL, **module_settings(STResNetModule, lr=0.1))
    settings = module.optimization
    groups = parameter_groups(
        module.network,
        settings.lr,
        settings.weight_decay,
        classifiers=module.network.classifiers,
        bias_lr_multiplier=settings.bias_lr_multiplier,
        norm_scale_lr_multiplier=settings.norm_scale_lr_multiplier,
        decay_bias=settings.decay_bias,
        decay_norm=settings.decay_norm,
    )
    found = {group["name"]: (group["lr"], group["weight_decay"]) for group in groups}
    assert found == {
        "weights": (0.1, 5e-4),
        "norm_scales": (0.2, 0),
        "norm_shifts": (0.1, 0),
        "head_weights": (0.1, 5e-4),
        "head_biases": (0.2, 0),
    }
    momenta = {m.momentum for m in module.network.modules() if isinstance(m, nn.BatchNorm2d)}
    assert momenta == {0.05}


def test_both_streams_start_from_their_own_runs(tmp_path: Path) -> None:
    rgb = STResNetModule("rgb_stream_tiny", num_classes=3)
    flow = STResNetModule("flow_stream_tiny", **SMALL)
    sources = [
        save_run(tmp_path / "rgb.ckpt", rgb, CLASSES),
        save_run(tmp_path / "flow.ckpt", flow, CLASSES),
    ]
    network = STResNetModule("st_resnet_tiny", **SMALL).network
    report = initialize(network, sources, ["c", "other", "a"], DataSpec())
    assert report.matched_classes == 2
    state: dict[str, Tensor] = network.state_dict()
    for stream, name in ((rgb, "rgb"), (flow, "flow")):
        for key in ("conv1.weight", "layer1.0.bn2.running_var"):
            assert torch.equal(state[f"{name}.{key}"], stream.state_dict()[f"network.{name}.{key}"])
        head = stream.state_dict()[f"network.{name}.fc.weight"]
        assert torch.equal(state[f"{name}.fc.weight"][[0, 2]], head[[2, 0]])
    temporal = state["flow.layer1.1.conv1.weight"]
    assert torch.equal(
        temporal[:, :, 1], flow.state_dict()["network.flow.layer1.1.conv1.weight"] / 3
    )


def test_sources_that_do_not_join_are_refused(tmp_path: Path) -> None:
    rgb = STResNetModule("rgb_stream_tiny", num_classes=3)
    flow = STResNetModule("flow_stream_tiny", **SMALL)
    one = save_run(tmp_path / "one.ckpt", rgb, CLASSES)
    two = save_run(tmp_path / "two.ckpt", rgb, CLASSES)
    other = save_run(tmp_path / "other.ckpt", flow, ["x", "y", "z"])
    plain = str(tmp_path / "plain.pth")
    torch.save({"conv1.weight": torch.zeros(1)}, plain)
    network = STResNetModule("two_stream_tiny", **SMALL).network
    for sources, sentence in (
        ([one, two], "two.ckpt of init_from holds .* that another source holds too"),
        ([one, other], "other.ckpt of init_from was trained on other classes"),
        ([one, plain], "plain.pth is no checkpoint of a run"),
        (["imagenet", one], "imagenet is no checkpoint of a run"),
        ([one], "they lack .*flow"),
        ([one, str(tmp_path / "none.ckpt")], "there is no file .*none.ckpt"),
        ([], "init_from is an empty list"),
    ):
        with pytest.raises(ValueError, match=sentence):
            initialize(network, sources, CLASSES, DataSpec())


@pytest.mark.parametrize(
    ("trained", "asked", "sentence"),
    [
        ({"stride_on": "3x3"}, {}, "one.ckpt of init_from .* set --model.stride_on 3x3"),
        ({}, {"stride_on": "3x3"}, "set --model.stride_on 1x1"),
        ({"rectified": True}, {"rectified": False}, "set --model.rectified true"),
        ({}, {"rectified": True}, "another rectified, .* set --model.rectified false"),
        ({}, {"links": "direct"}, "another links, .* set --model.links motion_to_appearance"),
        ({"links": "none"}, {}, "another links, .* set --model.links none"),
        (
            {"connection": "product", "temporal_convolutions": False},
            {"temporal_convolutions": False},
            "another connection, .* set --model.connection product",
        ),
        (
            {"temporal_convolutions": False},
            {"connection": "product"},
            "another connection, .* set --model.connection sum",
        ),
        (
            {"star": True, "star_pool": "mean"},
            {"star": True},
            "another star_pool, .* set --model.star_pool mean",
        ),
    ],
)
def test_weights_of_other_options_are_refused(
    tmp_path: Path, trained: dict[str, Any], asked: dict[str, Any], sentence: str
) -> None:
    path = save_run(
        tmp_path / "one.ckpt", STResNetModule("st_resnet_tiny", **SMALL, **trained), CLASSES
    )
    network = STResNetModule("st_resnet_tiny", **SMALL, **asked).network
    before = {name: value.clone() for name, value in network.state_dict().items()}

    with pytest.raises(ValueError, match=sentence):
        initialize(network, path, CLASSES, DataSpec())

    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_weights_go_on_into_what_has_the_same_options(tmp_path: Path) -> None:
    """What null stands for is compared; options of one of the two networks are not."""
    chance = torch.get_rng_state()
    for trained, network, asked in (
        ({"rectified": False}, "st_resnet_tiny", {"star": True, "stride_on": "1x1"}),
        ({"stride_on": "3x3"}, "st_resnet_tiny", {"stride_on": "3x3", "star": True}),
        ({"links": "direct"}, "st_resnet_tiny", {"links": "direct", "star": True}),
        ({"temporal_convolutions": False}, "st_resnet_tiny", {}),
        ({}, "st_resnet_tiny", {"star": True, "star_pool": "mean"}),
        ({"links": "none", "temporal_convolutions": False}, "two_stream_tiny", {}),
    ):
        module = STResNetModule("st_resnet_tiny", **SMALL, **trained)
        path = save_run(tmp_path / "one.ckpt", module, CLASSES)
        other = STResNetModule(network, **SMALL, **asked).network
        torch.set_rng_state(chance)
        assert initialize(other, path, CLASSES, DataSpec()).new == []
        assert torch.equal(torch.get_rng_state(), chance)
    stream = STResNetModule("flow_stream_tiny", **SMALL)
    path = save_run(tmp_path / "flow.ckpt", stream, CLASSES)
    with pytest.raises(ValueError, match=r"set --model\.stride_on 1x1"):
        initialize(
            STResNetModule("flow_stream_tiny", **SMALL, stride_on="3x3").network,
            path,
            CLASSES,
            DataSpec(),
        )


@pytest.mark.parametrize("source", ["imagenet", "file"])
def test_2d_weights_need_the_stride_where_they_were_trained(tmp_path: Path, source: str) -> None:
    if source == "file":
        source = str(tmp_path / "r50.pth")
        torch.save({"conv1.weight": torch.zeros(1)}, source)
    with torch.device("meta"):
        network = STResNetModule("rgb_stream_r50", num_classes=3).network

    with pytest.raises(ValueError, match=r"of init_from was .* set --model\.stride_on 3x3"):
        initialize(network, source, CLASSES, DataSpec())


def test_run_of_an_unknown_network_is_refused(tmp_path: Path) -> None:
    module = STResNetModule("rgb_stream_tiny", num_classes=3)
    path = save_run(tmp_path / "one.ckpt", module, CLASSES)
    content = torch.load(path, weights_only=True)
    content["network"]["name"] = "rgb_stream_r7"
    torch.save(content, path)

    with pytest.raises(
        ValueError, match="cannot be built here: there is no network 'rgb_stream_r7'"
    ):
        initialize(module.network, path, CLASSES, DataSpec())


def test_weights_that_saw_the_test_videos_are_refused(tmp_path: Path) -> None:
    module = STResNetModule("rgb_stream_tiny", num_classes=3)
    path = save_run(tmp_path / "one.ckpt", module, CLASSES)

    with pytest.raises(
        ValueError, match=r"one\.ckpt of init_from was trained on UCF101 split 1, am"
    ):
        initialize(
            module.network,
            path,
            CLASSES,
            spec_of(UCF101DataModule(split=2, sampling=FrameSampler(num_segments=1))),
        )

    for data in (
        UCF101DataModule(sampling=FrameSampler(num_segments=1)),
        HMDB51DataModule(split=2, sampling=FrameSampler(num_segments=1)),
    ):
        assert initialize(module.network, path, CLASSES, spec_of(data)).matched_classes == 3


@pytest.mark.parametrize(
    ("frozen", "source", "said"),
    [("all", "rgb", True), ("all_but_first", "rgb", False), ("all", "flow", False)],
)
def test_frozen_statistics_of_colours_are_remarked_on(
    frozen: str, source: str, said: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of a 2D network, which no tiny network has a file of, in place of the source's."""
    streams = STResNetModule("two_stream_tiny", **SMALL).network.state_dict()
    weights = {k.partition(".")[2]: v for k, v in streams.items() if k.startswith("rgb.")}
    if source == "flow":
        weights = {k: v for k, v in streams.items() if k.startswith("flow.")}
    lines: list[str] = []
    monkeypatch.setattr("lightning_modules.st_resnet.rank_zero_info", lines.append)
    monkeypatch.setattr(
        "lightning_modules.base.initialize", lambda network, *_: load_weights(network, weights)
    )
    settings = module_settings(STResNetModule, frozen_bn=frozen, init_from="2d.pth")
    module = STResNetModule("flow_stream_tiny", **SMALL, **settings)

    module.load_init_from(DataSpec())

    assert ["colours" in line and "all_but_first" in line for line in lines] == [True] * said


@pytest.mark.slow
def test_compiled_streams_give_the_same_loss() -> None:
    torch.manual_seed(0)
    module = STResNetModule("rgb_stream_tiny", num_classes=3)
    wanted, _ = module.loss(batch_of())
    module.compile_network()
    found, _ = module.loss(batch_of())
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
