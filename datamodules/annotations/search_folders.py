"""The folders of a dataset's annotation files: beside the videos, or one of their own."""

from collections.abc import Sequence
from pathlib import Path

from datamodules.errors import UserError


class OfficialLists:
    """The folders that may hold a dataset's annotation files.

    Args:
        root: Folder of the dataset.
        given: The user's folder of annotations, relative to the root or as it is; None to look in
            the root, in its folder `annotations`, and in the usual ones.
        usual: Names that the archives give the folder.

    Raises:
        UserError: If the user's folder is not there.
    """

    def __init__(self, root: Path, given: str | None, usual: Sequence[str]) -> None:
        if given is None:
            folders = [root, root / "annotations"]
            folders += [folder / name for folder in folders for name in usual]
        else:
            folders = [root / given if (root / given).is_dir() else Path(given)]
            if not folders[0].is_dir():
                raise UserError(
                    f"there is no folder {folders[0]}; set data.annotations to the folder of the "
                    "official lists, or leave it out where they lie beside the videos"
                )
        self.folders = [folder for folder in folders if folder.is_dir()]

    def find(self, names: Sequence[str]) -> Path | None:
        """Find the first file that is there, by folder, then by name; None where there is none.

        Args:
            names: Names the file may have.
        """
        paths = (folder / name for folder in self.folders for name in names)
        return next((path for path in paths if path.is_file()), None)

    def get(self, names: Sequence[str]) -> Path:
        """Find the first file that is there, by folder, then by name; one is required.

        Args:
            names: Names the file may have.

        Raises:
            UserError: If there is none.
        """
        found = self.find(names)
        if found is None:
            raise self.error(" or ".join(names[:3]))
        return found

    def error(self, wanted: str) -> UserError:
        """Make the error that tells of a missing list.

        Args:
            wanted: Name of the list.
        """
        looked = ", ".join(str(folder) for folder in self.folders)
        return UserError(
            f"there is no {wanted} in {looked or 'the dataset folder'}; set data.root to the "
            "folder of the dataset, or data.annotations to the folder of its lists"
        )
