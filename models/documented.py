"""The sizes that the papers' networks must have, each at the setting it is documented for.

Figures derived from the papers' tables and the authors' code by hand, not by this code: parameters
are exact, multiply-adds are rounded as documented and hold to 0.1 %.
`kinetoscope models --check` and the tests build every row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

COST = "Li et al., CVPR 2019"
SELFY = "Kwon et al., ICCV 2021"
TSM = "Lin et al., ICCV 2019"
STNET = "He et al., AAAI 2019"
ST_RESNET = "Feichtenhofer et al., NIPS 2016"


@dataclass(frozen=True)
class DocumentedSize:
    """Documented size of one network.

    Attributes:
        network: Name in `list_models()`.
        num_classes: Width of the logits.
        frames: Frames of the clip; chunks for two-stream networks.
        size: Height and width of the clip, in pixels.
        parameters: Exact number of parameters.
        gmacs: Multiply-adds of one clip, in 1e9; None where none is documented.
        source: The paper that defines the network.
        options: Options of the network.
    """

    network: str
    num_classes: int
    frames: int
    size: int
    parameters: int
    gmacs: float | None
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)


def _cost() -> list[DocumentedSize]:
    """List CoST and the networks it is compared with: 8 frames, Kinetics-400."""
    rows: list[tuple[str, dict[str, Any], int, float]] = [
        ("c2d_r50", {}, 24_327_632, 19.493),
        ("c2d_r101", {}, 43_319_760, 34.342),
        ("c3d_r50", {}, 29_013_456, 24.426),
        ("c3d_r101", {}, 51_675_600, 42.152),
        ("c3d_3x3x3_r50", {}, 37_967_312, 27.817),
        ("c3d_3x3x3_r101", {}, 62_857_680, 50.064),
        ("cost_a_r50", {}, 24_333_968, 27.817),
        ("cost_a_r101", {}, 43_331_472, 50.064),
        ("cost_b_r50", {}, 25_085_464, 27.819),
        ("cost_b_r101", {}, 44_405_344, 50.068),
        ("cost_b_r50", {"shared": False}, 38_725_144, 27.819),
        ("cost_b_r101", {"shared": False}, 63_943_264, 50.068),
    ]
    sizes = [DocumentedSize(n, 400, 8, 224, p, g, COST, o) for n, o, p, g in rows]
    # Moments in Time has 339 classes; test crops of 256 pixels; 32 frames
    sizes += [DocumentedSize(n, 339, 8, 224, p - 61 * 2049, None, COST, o) for n, o, p, _ in rows]
    for name, parameters, gmacs in (
        ("c2d_r50", 24_327_632, 25.460),
        ("c3d_r50", 29_013_456, 31.903),
        ("cost_b_r50", 25_085_464, 36.334),
    ):
        sizes.append(DocumentedSize(name, 400, 8, 256, parameters, gmacs, COST))
    long_stem = {"stem": "32_frames"}
    sizes.append(DocumentedSize("cost_b_r101", 400, 32, 224, 44_442_976, 58.565, COST, long_stem))
    return sizes


def _selfy() -> list[DocumentedSize]:
    """List SELFY on both trunks, and the trunks: Something-Something's 174 classes."""
    sizes = [
        DocumentedSize(name, 174, frames, 224, 23_864_558, gmacs, TSM)
        for name in ("tsn_r50", "tsm_r50")
        for frames, gmacs in ((8, 32.70), (16, 65.40))
    ]
    sizes += [
        DocumentedSize(name, 400, 8, 224, 24_327_632, None, TSM) for name in ("tsn_r50", "tsm_r50")
    ]
    sizes.append(DocumentedSize("tsm_r18", 174, 8, 224, 11_265_774, None, TSM))
    for trunk in ("tsm", "tsn"):
        for frames, gmacs in ((8, 35.99), (16, 71.98)):
            sizes.append(
                DocumentedSize(f"selfy_{trunk}_r50", 174, frames, 224, 24_830_842, gmacs, SELFY)
            )
    nine = {"offsets": tuple(range(-4, 5))}
    sizes.append(DocumentedSize("selfy_tsm_r50", 174, 16, 224, 24_978_298, 75.68, SELFY, nine))
    sizes.append(DocumentedSize("selfy_tsm_r18", 174, 8, 224, 11_764_346, None, SELFY))
    return sizes


def _stnet() -> list[DocumentedSize]:
    """List StNet: Kinetics-400 and -600 and UCF101, 7 and 25 super-images of 5 frames."""
    sizes = []
    for name, base, costs in (
        ("stnet_r50", 33_158_864, (40.58, 53.00, 189.27)),
        ("stnet_r101", 52_150_992, (66.57, 86.94, 310.48)),
        ("stnet_r152", 67_794_640, (92.55, 120.88, 431.70)),
    ):
        settings = zip(((35, 224), (35, 256), (125, 256)), costs, strict=True)
        for (frames, size), gmacs in settings:
            sizes.append(DocumentedSize(name, 400, frames, size, base, gmacs, STNET))
        for num_classes in (600, 101):
            parameters = base + (num_classes - 400) * 1025
            sizes.append(DocumentedSize(name, num_classes, 35, 224, parameters, None, STNET))
    return sizes


def _st_resnet() -> list[DocumentedSize]:
    """List ST-ResNet, its streams, and the two streams without links: UCF101 and HMDB51."""
    sizes = []
    for name, parameters, hmdb51_parameters, gmacs in (
        ("rgb_stream_r50", 23_714_981, 23_612_531, 3.8561),
        ("flow_stream_r50", 23_768_293, 23_665_843, 4.5249),
        ("two_stream_r50", 47_483_274, 47_278_374, 3.8561 + 4.5249),
        ("st_resnet_r50", 58_624_394, 58_419_494, 10.0252),
    ):
        sizes.append(DocumentedSize(name, 101, 1, 224, parameters, gmacs, ST_RESNET))
        sizes.append(DocumentedSize(name, 51, 1, 224, hmdb51_parameters, None, ST_RESNET))
    for frames, gmacs in ((5, 50.1), (11, 110.3), (25, 250.6)):
        sizes.append(
            DocumentedSize("st_resnet_r50", 101, frames, 224, 58_624_394, gmacs, ST_RESNET)
        )
    star = {"star": True}
    sizes.append(DocumentedSize("st_resnet_r50", 101, 11, 224, 58_624_394, 110.3, ST_RESNET, star))
    # links have no weights, and cost additions alone: what is left is the size of two streams
    links = {"temporal_convolutions": False}
    for num_classes, parameters in ((101, 47_483_274), (51, 47_278_374)):
        cost = 3.8561 + 4.5249 if num_classes == 101 else None
        sizes.append(
            DocumentedSize("st_resnet_r50", num_classes, 1, 224, parameters, cost, ST_RESNET, links)
        )
    return sizes


DOCUMENTED_SIZES: tuple[DocumentedSize, ...] = (*_cost(), *_selfy(), *_stnet(), *_st_resnet())
"""Every documented row; the first of a network is the setting it is listed with."""
