"""What a result is said to be on: a dataset, and which version, labels or official split of it."""

from datamodules.errors import UserError


class Edition:
    """Names the data, and knows which other data trains on its test videos."""

    @property
    def edition(self) -> str:
        """Which version, label set or official split of the dataset; empty where it has one."""
        return ""

    @property
    def other_splits(self) -> list[str]:
        """Editions whose training videos are, in part, the test videos of this one."""
        return []

    @property
    def dataset_name(self) -> str:
        """The dataset and its edition, such as `UCF101 split 1`."""
        return self._name_of(self.edition)

    def refuse_other_split(self, trained_on: str, source: str) -> None:
        """Refuse weights that have seen the test videos.

        Args:
            trained_on: `dataset_name` of the data that they were trained on.
            source: Where they come from.

        Raises:
            UserError: If that is another official split of this dataset.
        """
        if trained_on in map(self._name_of, self.other_splits):
            raise UserError(
                f"{source} was trained on {trained_on}, among whose training videos are test "
                f"videos of {self.dataset_name}; give one of {self.dataset_name}, or change "
                "data.split"
            )

    def _name_of(self, edition: str) -> str:
        return f"{type(self).__name__.removesuffix('DataModule')} {edition}".rstrip()


class ThreeSplits(Edition):
    """Data with three official splits of the same videos.

    Attributes:
        number: The split, from 1 on.
    """

    number: int

    @property
    def edition(self) -> str:
        """The official split."""
        return f"split {self.number}"

    @property
    def other_splits(self) -> list[str]:
        """The two other official splits."""
        return [f"split {number}" for number in (1, 2, 3) if number != self.number]
