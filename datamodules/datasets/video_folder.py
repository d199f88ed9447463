"""VideoFolderDataModule: own videos, as class folders or as list files."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from datamodules.annotations.class_files import class_folder_of, read_class_folders, read_class_list
from datamodules.annotations.label_form import LabelForm
from datamodules.annotations.label_lists import (
    classes_listed,
    read_form_classes,
    read_label_list,
)
from datamodules.annotations.listed_videos import SPLITS, ListedVideo, ListedVideos
from datamodules.annotations.name_groups import (
    GroupGuess,
    compiled_pattern,
    group_in,
    guess_groups,
)
from datamodules.annotations.splits import Lists
from datamodules.annotations.video_lists import read_video_list
from datamodules.base import Split, VideoDataModule
from datamodules.errors import UserError
from datamodules.video.suffixes import is_video, visible_folders

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid", "validate"),
    "test": ("test", "testing"),
}


class VideoFolderDataModule(VideoDataModule):
    r"""Videos in class folders, or listed in files, with no conversion step.

    Class folders are `<root>/<class>/<video>`, or the same below `train`, `val` and `test`. List
    files hold one video a line, in any form of `read_video_list`; their paths are relative to the
    root. A frame folder (`<video>/00001.jpg`, ...) counts as a video.

    Args:
        root: Folder of the videos.
        train_list: List of training videos, relative to the root or absolute; null for class
            folders.
        val_list: List of validation videos; null holds out `val_fraction` of the training videos.
        test_list: List of test videos; null tests on the validation videos.
        classes_file: Class names, `<id> <name>` or `<name>` on a line. Null takes them from the
            folders, or numbers where folders do not tell.
        group_pattern: Regular expression whose first group (or match, or group called `group`) in a
            video's path names what is never divided between train and val, in whatever class it
            occurs, such as `_(g\d+)_` for UCF101's groups. Null leaves it at a sentence where
            names look as if they told groups; `.*` says that they do not.
        label_columns: Columns of the labels, where lists are CSV files with a header such as
            `path,verb,noun`: each video has one class, or none, of each column. Null for lists with
            one class of each video.
        multi_label: True where a video may show any number of classes: those in the cells of
            `label_columns` (null for the column `labels`), with `;` between them.
        kwargs: Arguments of `VideoDataModule`.

    Raises:
        UserError: If lists and folders do not fit together.
    """

    def __init__(
        self,
        root: str,
        train_list: str | None = None,
        val_list: str | None = None,
        test_list: str | None = None,
        classes_file: str | None = None,
        group_pattern: str | None = None,
        label_columns: list[str] | None = None,
        multi_label: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, **kwargs)
        self._columns = ["labels"] if multi_label and label_columns is None else label_columns
        self._form = _form_of(self._columns, multi_label)
        if train_list is None and self._columns is not None:
            raise UserError(
                "data.label_columns and data.multi_label name columns of data.train_list, which is "
                "not given; give it, or leave them out to read class folders"
            )
        self._lists: dict[Split, str | None] = {
            "train": train_list,
            "val": val_list,
            "test": test_list,
        }
        self._classes_file = classes_file
        self._group_pattern = None if group_pattern is None else compiled_pattern(group_pattern)
        if train_list is None and (val_list or test_list or classes_file):
            raise UserError(
                "val_list, test_list and classes_file go with data.train_list, which is not given; "
                "give it, or leave them out to read class folders"
            )

    @property
    def label_form(self) -> LabelForm:
        """The form of the labels, as the settings say."""
        return self._form

    @cached_property
    def class_names(self) -> list[str]:
        """Names of the classes in label order.

        Raises:
            UserError: If the root is missing or empty, or the lists do not tell.
        """
        if not self.root.is_dir():
            raise UserError(
                f"there is no dataset folder {self.root}; set data.root to where the videos are"
            )
        if self._lists["train"] is None:
            return self._folder_classes()
        names = list(self._listed_classes.values())
        if len(names) < 2:
            raise UserError(
                f"the lists name {len(names)} class ({''.join(names)}), but at least 2 are needed; "
                "correct data.train_list or data.classes_file"
            )
        return names

    def class_index(self) -> dict[str, int]:
        """Map classes as lists write them (id, or folder for lines without one) to labels."""
        index = super().class_index()
        if self._lists["train"] is not None:
            index |= {written: label for label, written in enumerate(self._listed_classes)}
        return index

    def read_split(self, split: Split) -> ListedVideos | None:
        """Read the videos of a split; None where there is no list or folder for it."""
        if self._lists["train"] is not None:
            listed = self._lists[split]
            return None if listed is None else self._read_list(listed)
        folder = self._split_folder(split)
        return None if folder is None else read_class_folders(self.store, folder, self.class_names)

    def group_of(self, video: ListedVideo) -> str:
        r"""Find `group_pattern` in a video's path, over all classes; without it, return the path.

        A scene or person that occurs in several classes is one group. Where equal names of two
        classes mean different things, the pattern can take the class in: `([^/]+_g\d+)_`.
        """
        if self._group_pattern is None:
            return video.path
        group = group_in(self._group_pattern, video.path)
        if group is None:
            raise UserError(
                f"data.group_pattern={self._group_pattern.pattern!r} finds nothing in {video.path}"
            )
        return group

    def source_of(self, video: ListedVideo) -> str:
        """Name a video's group, guessed where `group_pattern` is not given; empty where unknown."""
        guess = self.guessed_groups
        group = self.group_of(video) if guess is None else guess.group_of(video.path)
        return "" if group == video.path else group

    @cached_property
    def guessed_groups(self) -> GroupGuess | None:
        """Groups as the file names tell them; None where they do not, or `group_pattern` does."""
        if self._group_pattern is not None:
            return None
        index, labels = self.class_index(), dict[str, int]()
        for videos in map(self.listed, SPLITS):
            written = () if videos is None else videos.labels
            pairs = () if videos is None else zip(videos.paths, written, strict=True)
            if not self._form.is_single:  # each combination of classes is as a class
                for label in written:
                    index.setdefault(label, len(index))
            labels.update((path, index.get(label, -1)) for path, label in pairs)
        return guess_groups(list(labels), list(labels.values()))

    def learn(self, lists: Lists) -> None:
        """See `AnnotatedDataset`; classes of lists, groups, and where splits divide them."""
        super().learn(lists)
        guess = self.guessed_groups
        lists.facts["listed_classes"] = vars(self).get("_listed_classes")
        lists.facts["guessed_groups"] = None if guess is None else asdict(guess)
        if guess is not None:
            self._remark_on_groups(guess, lists)

    def take_facts(self, facts: Mapping[str, Any]) -> None:
        """See `AnnotatedDataset`."""
        super().take_facts(facts)
        guess = facts["guessed_groups"]
        vars(self).setdefault("guessed_groups", None if guess is None else GroupGuess(**guess))
        if facts["listed_classes"] is not None:
            vars(self).setdefault("_listed_classes", facts["listed_classes"])

    def _remark_on_groups(self, guess: GroupGuess, lists: Lists) -> None:
        """Say how many videos the guessed groups share with training, and how to hold them out."""
        parts = {"validation": lists.tables["val"]}
        if lists.test_split_name == "test":
            parts["test"] = lists.tables["test"]
        look = f"file names look like {guess.name} (data.group_pattern='{guess.pattern}')"
        training = lists.tables["train"].paths
        counts = {name: guess.count_shared(part.paths, training) for name, part in parts.items()}
        if not any(counts.values()):
            self.remarks.add("splits", f"{look}: none is in training and in another split")
            return
        shared = " and ".join(
            f"{count} of {len(parts[name])} {name} videos"
            for name, count in counts.items()
            if count
        )
        self.remarks.add(
            "groups",
            f"{look}: {shared} have theirs in training too, so accuracy on them says little of new "
            "ones; that option holds groups out whole, and makes `kinetoscope doctor` refuse lists "
            "that divide them ('.*' if these are no groups)",
        )

    def _read_list(self, listed: str) -> ListedVideos:
        path = self._resolve(listed)
        if self._columns is None:
            return read_video_list(path)
        return read_label_list(path, self._columns, self._form)

    def _resolve(self, listed: str) -> Path:
        """Resolve a list's path: relative to the root where it is there, else as given."""
        inside = self.root / listed
        return inside if inside.exists() else Path(listed)

    @cached_property
    def _listed_classes(self) -> dict[str, str]:
        """Class names by classes as the lists write them, in label order."""
        if self._classes_file is not None:
            path = self._resolve(self._classes_file)
            if not path.is_file():
                raise UserError(f"there is no class file {path}; check data.classes_file")
            if self._form.is_single:
                return read_class_list(path)
            return read_form_classes(path, self._form)
        lists = [self._read_list(name) for name in self._lists.values() if name is not None]
        if not self._form.is_single:
            return classes_listed(lists, self._form)
        videos = [video for listed in lists for video in listed]
        labelled = [video for video in videos if video.label.isdecimal()]
        if not labelled:
            return {name: name for name in sorted({video.label for video in videos})}
        ids = sorted({int(video.label) for video in labelled})
        first = 1 if ids[0] == 1 else 0
        if len(ids) < ids[-1] - first + 1:
            raise UserError(
                f"the lists name {len(ids)} class ids, but they go up to {ids[-1]}; the last "
                "number of a line is read as its class: give data.classes_file or correct the list"
            )
        folders = class_folder_of(labelled)
        return {str(i): folders.get(str(i), str(i)) for i in range(first, ids[-1] + 1)}

    def _folder_classes(self) -> list[str]:
        folder = self._split_folder("train")
        assert folder is not None
        place = self.store / folder if folder else self.store
        found = visible_folders(place)
        if not folder and set(found) & {*SPLIT_FOLDERS["val"], *SPLIT_FOLDERS["test"]}:
            raise UserError(
                f"{self.root} has folders {', '.join(found)} but none called train; add it, or "
                "point data.root at the class folders"
            )
        frames = [name for name in found if is_video(place / name)]
        if frames:
            raise UserError(
                f"{place} holds {len(frames)} folder(s) of images where class folders are "
                f"expected, such as {frames[0]}; a class folder holds videos or frame folders, so "
                "put frame folders into the folder of their class, or give data.train_list"
            )
        if len(found) < 2:
            raise UserError(
                f"{place} holds {len(found)} class folder(s), but at least 2 are needed; put the "
                "videos of each class into a folder named after it, or give data.train_list"
            )
        return found

    def _split_folder(self, split: Split) -> str | None:
        """Find the folder of a split's class folders; empty for train where none is divided off."""
        for name in SPLIT_FOLDERS[split]:
            if (self.store / name).is_folder():
                return name
        return "" if split == "train" else None


def _form_of(columns: list[str] | None, multi_label: bool) -> LabelForm:
    """Make the form of the labels of columns; one class of all where there are none."""
    if columns is None:
        return LabelForm()
    names = [name.strip() for name in columns]
    if not names or not all(names) or len(set(map(str.lower, names))) < len(names):
        raise UserError(
            f"data.label_columns={columns} must name at least one column, each once; correct it, "
            "or leave it out"
        )
    if multi_label:
        return LabelForm("multi")
    if len(names) == 1 or any(mark in name for name in names for mark in (":", ";")):
        raise UserError(
            f"data.label_columns={columns} must name at least two columns, with no colon or "
            "semicolon in a name; for any number of classes in one column set "
            "data.multi_label=true, for one class of all list the videos as `path class`"
        )
    return LabelForm("columns", tuple(names))
