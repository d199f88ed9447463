"""Lists of MotionShapes with several labels each, made of the names of its classes."""

from pathlib import Path

MULTI = ["anticlockwise", "clockwise", "down", "grow", "left", "move", "right", "shrink", "turn"]
MULTI += ["up"]
COLUMNS = ["verb:grow", "verb:move", "verb:shrink", "verb:turn"]
COLUMNS += [f"way:{way}" for way in ("anticlockwise", "clockwise", "down", "left", "right", "up")]


def write_label_lists(root: Path, folder: Path) -> dict[str, list[str]]:
    """Write `multi_<split>.csv` and `columns_<split>.csv` of the dataset below `root`.

    Returns:
        The classes of each video by its path, such as ["move", "left"] or ["grow"].
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[str]] = {}
    for split in ("train", "val", "test"):
        multi, columns = ["path,labels"], ["path,verb,way"]
        for video in sorted((root / split).rglob("*.mp4")):
            path = video.relative_to(root).as_posix()
            found[path] = video.parent.name.split("_")
            multi.append(f"{path},{' ; '.join(found[path])}")
            columns.append(",".join([path, *found[path], ""][:3]))
        (folder / f"multi_{split}.csv").write_text("\n".join(multi))
        (folder / f"columns_{split}.csv").write_text("\n".join(columns))
    return found
