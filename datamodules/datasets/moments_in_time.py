"""MomentsInTimeDataModule: a million videos of three seconds, 339 or 305 classes."""

from functools import cached_property
from typing import Any, Literal

from datamodules.annotations.class_files import index_of_letters, read_label_map
from datamodules.annotations.listed_videos import ListedVideos
from datamodules.annotations.search_folders import OfficialLists
from datamodules.annotations.text_files import read_csv
from datamodules.base import Split, VideoDataModule
from datamodules.errors import UserError
from datamodules.video.suffixes import letters_of

NUM_CLASSES = {"v1": 339, "v2": 305}
CLASS_FILES = {
    "v1": ("moments_categories.txt", "label_map.txt"),
    "v2": ("moments_categories.txt", "category_momentsv2.txt", "label_map.txt"),
}
LISTS: dict[Split, str] = {"train": "trainingSet.csv", "val": "validationSet.csv"}
VIDEO_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("training/{}", "videos/training/{}", "rawframes/training/{}", "train/{}", "{}"),
    "val": ("validation/{}", "videos/validation/{}", "rawframes/validation/{}", "val/{}", "{}"),
}


class MomentsInTimeDataModule(VideoDataModule):
    """Moments in Time as it is downloaded; the validation videos are also the test set.

    Videos lie in `training/<class>` and `validation/<class>`, as files or as frame folders; words
    of a class may be joined by `+`, `_` or a blank. Lists are `trainingSet.csv` and
    `validationSet.csv`, without a header: `<class>/<file>,<class>,<agreed>,<disagreed>`. Monfort et
    al.: "Moments in Time Dataset: one million videos for event understanding", TPAMI 2019.

    Args:
        root: Folder of the dataset.
        version: Version of the classes; the archives' `moments_categories.txt` goes first.
        annotations: Folder of the lists and the class file, relative to the root or as it is; null
            looks in the root and in `annotations`.
        kwargs: Arguments of `VideoDataModule`.

    Raises:
        UserError: If arguments do not fit together.
    """

    reported_split = "val"

    def __init__(
        self,
        root: str = "data/moments_in_time",
        version: Literal["v1", "v2"] = "v1",
        annotations: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, **kwargs)
        self.version = version
        self.annotations = annotations

    @property
    def edition(self) -> str:
        """The version of the list of classes."""
        return self.version

    @cached_property
    def class_names(self) -> list[str]:
        """The classes in the order of the class file, which is not that of the alphabet.

        Raises:
            UserError: If there is no class file.
        """
        path = self._lists.get(CLASS_FILES[self.version])
        names, official = read_label_map(path), NUM_CLASSES[self.version]
        if len(names) != official:
            sentence = f"{path} names {len(names)} classes, {self.version} has {official}"
            self.remarks.add("classes", sentence)
        return names

    def class_index(self) -> dict[str, int]:
        """Map letters and digits of classes to labels: files differ in what joins the words."""
        return index_of_letters(self.class_names)

    def read_split(self, split: Split) -> ListedVideos | None:
        """Read the videos of a split; the test videos have no public labels."""
        if split == "test":
            return None
        path = self._lists.get([LISTS[split]])
        rows = list(read_csv(path))
        short = next((row for row in rows if len(row) < 2), None)
        if short is not None:
            raise UserError(
                f"{path} has the line {short[0]!r}, but a line is <class>/<file>,<class>,...; "
                "correct it"
            )
        letters = {name: letters_of(name) for name in {row[1] for row in rows}}
        labels = [letters[row[1]] for row in rows]
        listed = ListedVideos([row[0] for row in rows], labels).inside(self.root)
        names = [path.rpartition("/")[2] for path in listed.paths]
        folders = [path.rpartition("/")[0] for path in listed.paths]
        paths, found = self.files.locate(names, VIDEO_FOLDERS[split], folders)
        return ListedVideos(paths, labels, listed.paths, found=found)

    @cached_property
    def _lists(self) -> OfficialLists:
        return OfficialLists(self.root, self.annotations, ())
