"""Common parts of networks of other libraries: their clips, their published weights, sentences.

Axes: B clips, C channels, T frames, H rows, W columns.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from models.adapted import AdaptedNetwork
from models.weights import WeightReport, load_weights

__all__ = [
    *("ANY_CLIP", "ClipRule", "LibraryNetwork", "Published"),
    *("as_sentence", "building", "fetching", "near", "refuse_weights"),
]

_NO_OPTION = re.compile(r"(?:unexpected|multiple values for) keyword argument '(\w+)'")
"""Part of Python's own words on an argument that a function does not take, or that it sets."""
_OF_WEIGHTS = ("weights", "pretrained", "checkpoint_path", "progress")
"""Arguments of libraries that load weights."""


@dataclass(frozen=True)
class ClipRule:
    """Clips that a network takes.

    Attributes:
        num_frames: T; None for any.
        size: H and W, in pixels; None for any.
        names: The library's names of the two.
        is_exact: False where both are the least of what it takes.
    """

    num_frames: int | None = None
    size: tuple[int, int] | None = None
    names: tuple[str, str] = ("num_frames", "image_size")
    is_exact: bool = True

    def check(self, clip: Tensor, network: str) -> None:
        """Check a clip, (B, 3, T, H, W).

        Raises:
            ValueError: The network does not take it.
        """
        frames, *size = clip.shape[2:]
        if self._takes(frames, self.num_frames) and (
            self.size is None or all(map(self._takes, size, self.size))
        ):
            return
        wanted = [] if self.num_frames is None else [f"{self.names[0]}={self.num_frames}"]
        if self.size is not None:
            height, width = self.size
            shown = height if height == width else f"{height}x{width}"
            wanted.append(f"{self.names[1]}={shown}")
        least = "" if self.is_exact else "at least "
        remedy = " or build the network for yours" if self.is_exact else ""
        raise ValueError(
            f"{network} takes clips of {least}{' and '.join(wanted)}, and got {frames} frames of "
            f"{size[0]} x {size[1]} pixels; give such clips{remedy}"
        )

    def _takes(self, found: int, wanted: int | None) -> bool:
        if wanted is None:
            return True
        return found == wanted if self.is_exact else found >= wanted


ANY_CLIP = ClipRule()


@dataclass(frozen=True)
class Published:
    """Weights that a library publishes of a network.

    Attributes:
        weights: Name in the library's network to tensor.
        class_names: Classes of its classifier in the order of the rows; None where not known.
        missing: Weights of the network that are not published.
    """

    weights: Mapping[str, Tensor]
    class_names: Sequence[str] | None = None
    missing: tuple[str, ...] = ()


class LibraryNetwork(AdaptedNetwork):
    """A network of another library, with that library's own names of the weights.

    Args:
        name: `LIBRARY:NAME`.
        module: The library's network.
        num_classes: Number of classes.
        classifiers: See `AdaptedNetwork`.
        clips: Clips that it takes.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        num_classes: int,
        classifiers: Sequence[str] | None = None,
        clips: ClipRule = ANY_CLIP,
    ) -> None:
        super().__init__(module, num_classes, classifiers)
        self.name = name
        self.clips = clips

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips; see `AdaptedNetwork`.

        Raises:
            ValueError: The network does not take clips of this size.
        """
        self.clips.check(clip, self.name)
        return super().forward(clip)

    def published(self) -> Published:
        """Fetch the weights that the library publishes, or read them where they were fetched.

        Raises:
            ValueError: There are none, or they cannot be had.
        """
        raise NotImplementedError

    def load_published(self, class_names: Sequence[str]) -> WeightReport:
        """Load the weights that the library publishes, in place.

        Args:
            class_names: Classes of this network; its classifier takes the rows of those that the
                published one has by the same name.

        Returns:
            The use of every weight.

        Raises:
            ValueError: There are none, they cannot be had or are of another size.
        """
        source = self.published()
        self.new_parameters = tuple(  # type: ignore[misc]
            f"module.{name}" for name in source.missing
        )
        return load_weights(
            self,
            {f"module.{name}": weight for name, weight in source.weights.items()},
            class_names=class_names,
            source_class_names=source.class_names,
        )


def near(word: str, known: Iterable[str]) -> str:
    """Suggest known words near another, as the end of a sentence; empty where there are none."""
    words = list(known)
    found = difflib.get_close_matches(word, words, n=3) or [w for w in words if word in w][:3]
    return f"did you mean {' or '.join(found)}?" if found else ""


def refuse_weights(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that would load weights while a network is built.

    Raises:
        ValueError: There is one.
    """
    for option in _OF_WEIGHTS:
        if option in options:
            raise ValueError(
                f"{name} is built with new weights, so {option} is no option of it; set "
                "model.init_from to library for the published ones"
            )


@contextmanager
def as_sentence(name: str, what: str) -> Iterator[None]:
    """Turn whatever a library raises into a sentence.

    Args:
        name: `LIBRARY:NAME`.
        what: What cannot be done otherwise, and the remedy, with `{}` for the reason.

    Raises:
        ValueError: In the place of the library's error.
    """
    try:
        yield
    except Exception as error:
        unknown = _NO_OPTION.search(str(error))
        if isinstance(error, TypeError) and unknown:
            raise ValueError(
                f"{name} has no option {unknown[1]}; its options are the arguments that the "
                "library leaves open"
            ) from error
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"{name} {what.format(reason)}") from error


def building(name: str) -> AbstractContextManager[None]:
    """Turn what a library raises as it builds a network into a sentence; see `as_sentence`."""
    return as_sentence(name, "cannot be built with these options ({}); correct them")


def fetching(name: str) -> AbstractContextManager[None]:
    """Turn what a library raises as it fetches weights into a sentence; see `as_sentence`."""
    return as_sentence(
        name, "has weights that cannot be had ({}); check the connection, or name one that has some"
    )
