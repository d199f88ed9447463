"""SELFYModule: the authors' optimisation rules, and options that reach the network."""

from pathlib import Path
from typing import Any

import pytest
import torch
from grouped import module_settings, network_of

from datamodules.data_spec import DataSpec
from lightning_modules import SELFYModule, STResNetModule
from lightning_modules.training.initialization import initialize
from lightning_modules.training.optim import parameter_groups
from models import get_model


def test_learning_rates_and_decay_follow_the_code() -> None:
    module = SELFYModule("selfy_tsm_tiny", num_classes=3, **module_settings(SELFYModule, lr=0.1))
    settings = module.optimization
    assert settings.nesterov
    groups = parameter_groups(
        module.network,
        settings.lr,
        settings.weight_decay,
        classifiers=module.network.classifiers,
        bias_lr_multiplier=settings.bias_lr_multiplier,
        norm_scale_lr_multiplier=settings.norm_scale_lr_multiplier,
        head_lr_multiplier=settings.head_lr_multiplier,
        decay_bias=settings.decay_bias,
        decay_norm=settings.decay_norm,
    )
    found = {group["name"]: (group["lr"], group["weight_decay"]) for group in groups}
    assert found == {
        "weights": (0.1, 5e-4),
        "norm_scales": (0.1, 0),
        "norm_shifts": (0.1, 0),
        "head_weights": (0.1, 5e-4),
        "head_biases": (0.2, 0),
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"offsets": [-1, 0, 1], "window": 5},
        {"extraction": "mlp", "integration": "pointwise", "similarity": "dot"},
    ],
)
@pytest.mark.parametrize("network", ["selfy_tsm_tiny", "selfy_tsn_tiny"])
def test_options_reach_the_network(network: str, options: dict[str, Any]) -> None:
    module = SELFYModule(network, num_classes=3, **options)
    assert str(module.network) == str(get_model(network, 3, **options))


def test_option_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="window"):
        SELFYModule("selfy_tsm_tiny", num_classes=3, window=4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"offsets": [0, 1, 2, 3, 4]},
            r"another offsets, .* set --model\.offsets \[-2, -1, 0, 1, 2\]",
        ),
        ({"similarity": "dot"}, r"another similarity, .* set --model\.similarity cosine"),
    ],
)
def test_weights_of_other_comparisons_are_refused(
    options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    trained = SELFYModule("selfy_tsn_tiny", num_classes=2)
    parts = {"state_dict": trained.state_dict(), "class_names": ["a", "b"]}
    parts |= {"network": network_of(trained), "protocol": {"dataset": "x"}}
    torch.save(parts, tmp_path / "x.ckpt")
    other = SELFYModule("selfy_tsn_tiny", num_classes=2, **options).network

    with pytest.raises(ValueError, match=sentence):
        initialize(other, str(tmp_path / "x.ckpt"), ["a", "b"], DataSpec())


def test_defaults_of_the_family_do_not_stand_in_the_way() -> None:
    SELFYModule("selfy_tsn_tiny", num_classes=2, **module_settings(SELFYModule, optimizer="adamw"))
    SELFYModule(
        "selfy_tsn_tiny",
        num_classes=2,
        **module_settings(SELFYModule, optimizer="adamw", nesterov=False),
    )
    STResNetModule(
        "rgb_stream_tiny", num_classes=2, **module_settings(STResNetModule, frozen_bn="all")
    )
    with pytest.raises(ValueError, match=r"model\.optimization\.momentum=0\.5 is for sgd"):
        SELFYModule(
            "selfy_tsn_tiny",
            num_classes=2,
            **module_settings(SELFYModule, optimizer="adamw", momentum=0.5),
        )
    with pytest.raises(ValueError, match=r"model\.batch_norm\.momentum=0\.2 has no effect"):
        STResNetModule(
            "rgb_stream_tiny",
            num_classes=2,
            **module_settings(STResNetModule, frozen_bn="all", bn_momentum=0.2),
        )
