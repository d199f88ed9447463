"""Diving48DataModule: 48 kinds of dive that look alike but for how the body moves."""

from functools import cached_property
from typing import Any, Literal

from datamodules.annotations.json_files import read_json_entries, read_json_records
from datamodules.annotations.listed_videos import ListedVideo, ListedVideos
from datamodules.annotations.search_folders import OfficialLists
from datamodules.base import Split, VideoDataModule
from datamodules.errors import UserError

VERSIONS = {"v1": ("", "V1_"), "v2": ("V2_",)}
"""Parts of the lists' names between `Diving48_` and the split."""
VIDEO_FOLDERS = ("rgb", "videos", "rawframes", "frames", "")


class Diving48DataModule(VideoDataModule):
    """Diving48 as it is downloaded: `rgb/<name>.mp4`, cut dives named `<YouTube id>_<number>`.

    Videos may have any suffix or be frame folders. Validation videos are those of whole
    competitions (YouTube videos) in the training list. Lists are
    `Diving48_V2_{train,test}.json` and `Diving48_vocab.json`. Li, Li, Vasconcelos: "RESOUND:
    Towards Action Recognition without Representation Bias", ECCV 2018.

    Args:
        root: Folder of the dataset: of `rgb`, or that folder itself.
        version: Version of the labels; many of the first (`Diving48_{train,test}.json`) are wrong,
            the second are corrected.
        annotations: Folder of the lists, relative to the root or as it is; null looks in the root
            and in `annotations`.
        kwargs: Arguments of `VideoDataModule`.

    Raises:
        UserError: If arguments do not fit together.
    """

    def __init__(
        self,
        root: str = "data/diving48",
        version: Literal["v1", "v2"] = "v2",
        annotations: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, **kwargs)
        self.version = version
        self.annotations = annotations

    @property
    def edition(self) -> str:
        """The version of the labels."""
        return self.version

    @cached_property
    def class_names(self) -> list[str]:
        """The classes, such as `Back+15som+05Twis+FREE`, in the order of the vocabulary.

        Raises:
            UserError: If there is no vocabulary.
        """
        path = self._lists.get(["Diving48_vocab.json"])
        names = []
        for key, words in read_json_entries(path):
            if key is not None or not isinstance(words, list):
                raise UserError(
                    f"{path} must be a list with the four words of each class, but has "
                    f"{str(words)[:100]!r}; give the official vocabulary"
                )
            names.append("+".join(map(str, words)))
        return names

    def class_index(self) -> dict[str, int]:
        """Map classes as the lists write them, numbers from 0, to labels."""
        return {str(label): label for label in range(self.num_classes)}

    def official_counts(self) -> dict[Split, int]:
        """Count the videos in the official lists, where the numbers are known."""
        return {"train": 15027, "test": 1970} if self.version == "v2" else {}

    def read_split(self, split: Split) -> ListedVideos | None:
        """Read the videos of a split; there is no validation list."""
        if split == "val":
            return None
        names = [f"Diving48_{version}{split}.json" for version in VERSIONS[self.version]]
        ids, labels = read_json_records(self._lists.get(names), ("vid_name", "label"))
        paths, found = self.files.locate(ids, VIDEO_FOLDERS, suffix=".mp4")
        return ListedVideos(paths, labels, ids, found=found)

    def group_of(self, video: ListedVideo) -> str:
        """Name the YouTube video of a dive: one competition, pool and set of cameras.

        Raises:
            UserError: If the name does not tell.
        """
        group, _, number = video.video_id.rpartition("_")
        if not group or not number.isdecimal():
            raise UserError(
                f"{video.video_id} is no <YouTube id>_<number>, so it cannot be held out with its "
                "competition; correct the list, or set data.val_fraction=0"
            )
        return group

    @cached_property
    def _lists(self) -> OfficialLists:
        return OfficialLists(self.root, self.annotations, ())
