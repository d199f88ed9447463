"""Annotation tables and every common list format."""

import os
import pickle
import tracemalloc
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest

from datamodules.annotations.class_files import class_folder_of, read_class_list
from datamodules.annotations.folder_index import FolderIndex
from datamodules.annotations.listed_videos import ListedVideo, ListedVideos, relative_paths
from datamodules.annotations.table import PackedStrings, VideoTable, make_table
from datamodules.annotations.text_files import read_columns, read_csv
from datamodules.annotations.video_lists import read_video_list
from datamodules.errors import UserError
from datamodules.video.suffixes import is_video


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def listed(*videos: tuple[str, str]) -> ListedVideos:
    return ListedVideos([path for path, _ in videos], [label for _, label in videos])


def table_of(root: Path, videos: ListedVideos, class_index: dict[str, int]) -> VideoTable:
    return make_table(root, videos, class_index, FolderIndex(root))


def test_packed_strings_are_a_sequence_of_their_strings() -> None:
    strings = ["a/b.mp4", "", "ü [x] (1).avi", "z"]
    packed = PackedStrings(strings)
    assert list(packed) == strings == [packed[i] for i in range(4)]
    assert packed[-1] == "z"
    assert packed[1:3] == strings[1:3]
    assert list(pickle.loads(pickle.dumps(packed))) == strings
    assert list(PackedStrings([])) == []
    with pytest.raises(IndexError, match="outside the 4 strings"):
        packed[4]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/x.mp4 0\nb/y z.mp4 12\n", [("a/x.mp4", "0"), ("b/y z.mp4", "12")]),
        ("a/x.mp4,0\nb/y.mp4,1\n", [("a/x.mp4", "0"), ("b/y.mp4", "1")]),
        ("dir1 30 4\ndir2 51 0\n", [("dir1", "4"), ("dir2", "0")]),
        ("a/x.mp4 10.5 3\nb/y.mp4 7 1\n", [("a/x.mp4", "3"), ("b/y.mp4", "1")]),
        ("walk/d1 1 30\nrun/d2 1 51\n", [("walk/d1", "walk"), ("run/d2", "run")]),
        (
            "Punch/v_1.avi\nPushUps/v_2.avi",
            [("Punch/v_1.avi", "Punch"), ("PushUps/v_2.avi", "PushUps")],
        ),
        ("x 1.mp4\t2\r\n\r\ny.mp4\t3\r\n", [("x 1.mp4", "2"), ("y.mp4", "3")]),
        ("clip 1 4\nother 5\n", [("clip 1", "4"), ("other", "5")]),
        ("\ufeffa.mp4 0\nb.mp4 1\n", [("a.mp4", "0"), ("b.mp4", "1")]),
        ("x.mp4 grow\nb c/y.AVI  move_up\n", [("x.mp4", "grow"), ("b c/y.AVI", "move_up")]),
        ("x.mp4, Baby Crawling\ny.mp4,run\n", [("x.mp4", "Baby Crawling"), ("y.mp4", "run")]),
        ('"a, b.mp4",3\n"c ""d"".mp4",4\n', [("a, b.mp4", "3"), ('c "d".mp4', "4")]),
        ('"a b.mp4" 3\n"c.mp4" 4\n', [("a b.mp4", "3"), ("c.mp4", "4")]),
        ('"a.mp4","run"\nb.mp4,"walk, slow"\n', [("a.mp4", "run"), ("b.mp4", "walk, slow")]),
        (
            "a/x.mp4 (copy).mp4\nb.mp4 old/y.mp4",
            [("a/x.mp4 (copy).mp4", "a"), ("b.mp4 old/y.mp4", "b.mp4 old")],
        ),
    ],
)
def test_list_formats_are_read(tmp_path: Path, text: str, expected: list[tuple[str, str]]) -> None:
    videos = read_video_list(write(tmp_path / "list.txt", text))
    assert [(video.path, video.label) for video in videos] == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("a.mp4 1\nb.mp4\n", "mixes lines"),
        ("a.mp4 run\nb.mp4\n", r"without a class name, such as 'b\.mp4'"),
        ("path,label\na.mp4,1\n", "'path,label', names no video .* remove the header line"),
        ("video label\na.mp4 run\n", "remove the header line"),
        ("frame_dir num_frames label\ndir1 30 1\n", "remove the header line"),
    ],
)
def test_unusable_lists_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_video_list(write(tmp_path / "list.txt", text))
    with pytest.raises(ValueError, match="no list file at"):
        read_video_list(tmp_path / "other.txt")


def test_texts_in_other_encodings_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "list.txt"
    for encoding in ("latin-1", "utf-16"):
        other.write_text("ü.mp4 1\n", encoding=encoding)
        for read in (read_video_list, read_class_list):
            with pytest.raises(ValueError, match=r"list\.txt is not UTF-8 .* save it as UTF-8"):
                read(other)


HOSTILE = {
    "a million columns": ("a.mp4 " + "1 " * 1_000_000, "more than 65536 characters"),
    "one endless line": ("x" * 5_000_000, "more than 65536 characters"),
    "an open quote": ('label,youtube_id\n"a,b\nc,d\n', "is no CSV .*; correct or remove"),
    "a stray quote": ('label,youtube_id\n"a"b,c\n', "is no CSV .*; correct or remove"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_texts_that_are_no_annotations_are_refused(kind: str, tmp_path: Path) -> None:
    text, sentence = HOSTILE[kind]
    other = write(tmp_path / "list.csv", text)
    tracemalloc.start()
    with pytest.raises(ValueError, match=sentence):
        list(read_csv(other))
    if "quote" not in kind:
        with pytest.raises(ValueError, match=sentence):
            read_video_list(other)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3e6


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_is_read_by_the_names_of_its_columns(tmp_path: Path, end: str) -> None:
    lines = ["\ufeffB, A ,c", "", '1,"2, 3",4', "5,6,7,8", "", '9,"1""0",11']
    (tmp_path / "x.csv").write_bytes(end.join(lines).encode())
    columns = read_columns(tmp_path / "x.csv", ["a", "b"], ["a", "b"])
    assert columns == [["2, 3", "6", '1"0'], ["1", "5", "9"]]
    with pytest.raises(ValueError, match=r"no column 'd', its first line is 'B, A ,c'"):
        read_columns(tmp_path / "x.csv", ["a", "d"], ["a", "d"])
    write(tmp_path / "x.csv", "a,b\n1,2\n\n3\n")
    with pytest.raises(ValueError, match=r"row 2 of .*x\.csv has fewer fields"):
        read_columns(tmp_path / "x.csv", ["b", "a"], ["a", "b"])


def test_frame_folder_holds_images_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "b/1.jpg", "b/x.mp4", "c/1.jpg", "c/d/1.jpg", "e/note.txt"):
        write(tmp_path / name, "")
    assert [name for name in "abce" if is_video(tmp_path / name)] == ["a"]
    write(tmp_path / "a/.cache/1.jpg", "")
    assert is_video(tmp_path / "a")


def test_paths_inside_the_root_are_made_relative(tmp_path: Path) -> None:
    write(tmp_path / "a/1.mp4", "")
    videos = [(f"{tmp_path}/a/1.mp4", "0"), ("./a/../b/2.mp4", "0")]
    table = table_of(tmp_path, listed(*videos), {"0": 0})
    assert list(table.paths) == list(table.video_ids) == ["a/1.mp4", "b/2.mp4"]
    assert table.missing == ["b/2.mp4"]
    with pytest.raises(ValueError, match="listed twice"):
        table_of(tmp_path, listed(*videos, ("a/1.mp4", "0")), {"0": 0})


def test_class_lists_are_read_in_both_forms(tmp_path: Path) -> None:
    numbered = write(tmp_path / "classInd.txt", "2 Punch\n1 Baby Crawling\n10 PushUps\n")
    assert read_class_list(numbered) == {"1": "Baby Crawling", "2": "Punch", "10": "PushUps"}
    bare = write(tmp_path / "labels.txt", "Holding something\nApproaching, with camera\n")
    assert read_class_list(bare) == {"0": "Holding something", "1": "Approaching, with camera"}
    behind = write(tmp_path / "moments.txt", "clapping,1\nadult+male,0\n")
    assert read_class_list(behind) == {"0": "adult+male", "1": "clapping"}
    with pytest.raises(ValueError, match="each name and id once"):
        read_class_list(write(tmp_path / "double.txt", "1 a\n1 b\n"))


def test_class_folder_is_known_only_where_it_is_unambiguous() -> None:
    videos = [("Punch/a.avi", "1"), ("PushUps/b.avi", "2")]
    assert class_folder_of(listed(*videos)) == {"1": "Punch", "2": "PushUps"}
    assert class_folder_of(listed(*videos, ("Punch/c.avi", "2"))) == {}
    assert class_folder_of(listed(("a.avi", "1"), ("b.avi", "2"))) == {}


FOUND_AS = {
    "a/x.avi": "a/x.avi",
    "a/x.mp4": None,
    "a/x": "a/x.avi",
    "a/y.mkv": "a/y.MP4",
    "a/two.mkv": "a/two.avi",
    "a/frames.mp4": "a/frames",
    "a/notes.mp4": None,
    "a/notes": "a/notes",
    "Riding_A-Bike/[z](1).avi": "riding a bike/[z](1).avi",
    "a/x.avi.part": None,
    "b/x.avi": None,
    "twice/x.avi": None,
    "a/X.avi": None,
}


def test_files_are_found_in_other_forms_and_folder_spellings(tmp_path: Path) -> None:
    files = ("a/x.avi", "a/y.MP4", "a/two.mp4", "a/two.avi", "a/frames/1.jpg", "a/notes/1.txt")
    for name in (*files, "riding a bike/[z](1).avi", "t wice/x.avi", "tw ice/x.avi"):
        write(tmp_path / name, "")
    index = FolderIndex(tmp_path)
    expected = {**FOUND_AS, "a/x.mp4": "a/x.avi"}
    assert {name: index.find(name) for name in FOUND_AS} == expected
    assert index.find_all(FOUND_AS) == list(expected.values())
    for name, capitals, found in (("X.avi", True, "a/x.avi"), ("X.avi", False, None)):
        paths, present = index.locate([name], ["b", "a"], any_case=capitals)
        assert (paths, present.tolist()) == ([found or f"a/{name}"], [found is not None])
    table = table_of(tmp_path, listed(*((name, "0") for name in FOUND_AS)), {"0": 0})
    # a file that is listed itself stands in for no other
    own = [found for name, found in FOUND_AS.items() if found and name != "a/x"]
    assert [table.paths[int(i)] for i in table.present] == own
    write(tmp_path / "a" / "X.mp4", "")
    names = ["x.MKV", "TWO.mkv", "frames.mp4", "X.avi"]
    paths, present = FolderIndex(tmp_path).locate(names, ["{}"], ["a"] * 4, any_case=True)
    assert paths == ["a/x.avi", "a/two.avi", "a/frames", "a/X.mp4"]
    assert present.all()


def test_folder_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/x.avi", "a/y.avi", "b/x.avi"):
        write(tmp_path / name, "")
    looked = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(str(path)) or real(path))
    index = FolderIndex(tmp_path)
    names = ["a/x", "a/y.mp4", "a/gone", "b/x.avi", "c/x", "c/y"] * 2
    assert index.find_all(names) == ["a/x.avi", "a/y.avi", None, "b/x.avi", None, None] * 2
    assert sorted(looked) == [str(tmp_path / name) for name in (".", "a", "b")]


@pytest.mark.parametrize("linked", ["a/x.mp4", "a"])
def test_links_are_followed_and_paths_out_of_the_root_refused(tmp_path: Path, linked: str) -> None:
    store, root = tmp_path / "store", tmp_path / "root"
    for name in ("c/x.mp4", "d/y.mp4"):
        write(store / name, "")
    write(root / "b" / "x.mp4", "")
    (root / linked).parent.mkdir(exist_ok=True)
    (root / linked).symlink_to(store / "c" / ("x.mp4" if linked.endswith("4") else ""))
    (root / "b" / "gone.mp4").symlink_to(store / "nothing")
    (root / "b" / "round.mp4").symlink_to(root / "b" / "round.mp4")
    (root / "e").symlink_to(root)
    names = ["a/x.mp4", "b/x.mp4", "b/gone.mp4", "b/round.mp4", "e/b/x.mp4"]
    (tmp_path / "link").symlink_to(root)
    for folder in (root, tmp_path / "link"):
        table = table_of(folder, listed(*((name, "0") for name in names)), {"0": 0})
        assert table.missing == ["b/gone.mp4", "b/round.mp4"]
    paths, present = FolderIndex(root).locate(["x.mp4", "gone.mp4"], ["{}"], ["a", "b"])
    assert paths == ["a/x.mp4", "b/gone.mp4"]
    assert present.tolist() == [True, False]
    for outside in ("../store/d/y.mp4", f"{store}/d/y.mp4", "a/../../store/d/y.mp4"):
        with pytest.raises(ValueError, match="leads out of the dataset's root"):
            table_of(root, listed((outside, "0")), {"0": 0})


def test_list_of_another_machine_names_its_way_out(tmp_path: Path) -> None:
    (tmp_path / "20bn-v1" / "7").mkdir(parents=True)
    expected = (
        f"the listed path '/Dataset/SSV1/20bn-v1/7' leads out of the dataset's root {tmp_path}; "
        "20bn-v1/7 is there, so take /Dataset/SSV1/ off the list's lines, as with "
        "`sed 's|/Dataset/SSV1/||' LIST > NEW_LIST`"
    )
    with pytest.raises(UserError) as caught:
        relative_paths(tmp_path, ["/Dataset/SSV1/20bn-v1/7", "/Dataset/SSV1/20bn-v1/8"])
    assert str(caught.value) == expected
    with pytest.raises(UserError, match="write the list's paths relative to the root, or set"):
        relative_paths(tmp_path, ["/Dataset/SSV1/20bn-v1/9"])


def test_segments_of_one_file_have_their_own_ids(tmp_path: Path) -> None:
    write(tmp_path / "long.mp4", "")
    times = np.array([[0, 2.5, np.nan], [2.5, np.nan, np.nan]], np.float32)
    names = ["first", "second", "third"]
    videos = ListedVideos(["./long.mp4"] * 3, ["0", "1", "0"], names, *times)
    table = table_of(tmp_path, videos, {"0": 0, "1": 1})
    assert list(table.video_ids) == names
    assert list(table.paths) == ["long.mp4"] * 3
    np.testing.assert_array_equal(table.present, [0, 1, 2])
    np.testing.assert_array_equal(table.starts, times[0])
    np.testing.assert_array_equal(table.ends, times[1])
    last = videos.take(np.array([2, 1]))
    assert list(last) == [
        ListedVideo("./long.mp4", "0", "third"),
        ListedVideo("./long.mp4", "1", "second"),
    ]
    table = table_of(tmp_path, last, {"0": 0, "1": 1})
    np.testing.assert_array_equal(table.starts, times[0, [2, 1]])
    whole = table_of(tmp_path, listed(("long.mp4", "0")), {"0": 0})
    assert np.isnan([*whole.starts, *whole.ends]).all()
    with pytest.raises(ValueError, match="first is listed twice"):
        table_of(tmp_path, videos.take(np.array([0, 0])), {"0": 0})


def test_workers_share_one_table(tmp_path: Path) -> None:
    paths, ids = [f"{i}.mp4" for i in range(1000)], [f"id {i}" for i in range(1000)]
    table = table_of(tmp_path, ListedVideos(paths, ["0"] * 1000, ids), {"0": 0})
    copies = [ForkingPickler.loads(ForkingPickler.dumps(table)) for _ in range(2)]
    for copy in copies:
        assert list(copy.paths) == list(table.paths)
    copies[0].labels[3] = 7
    assert table.labels[3] == copies[1].labels[3] == 7


def test_table_keeps_missing_videos_in_its_list(tmp_path: Path) -> None:
    for name in ("a/[1] (x).mp4", "b/2.mp4"):
        write(tmp_path / name, "")
    names = ["a/[1] (x).mp4", "a/gone.mp4", "b/2.mp4", "c/none.mp4"]
    videos = listed(*((name, str(i % 2)) for i, name in enumerate(names)))
    table = table_of(tmp_path, videos, {"0": 0, "1": 1})
    assert list(table.video_ids) == names
    np.testing.assert_array_equal(table.present, [0, 2])
    np.testing.assert_array_equal(table.labels, [0, 1, 0, 1])
    assert table.missing == ["a/gone.mp4", "c/none.mp4"]


@pytest.mark.parametrize(
    ("videos", "sentence"),
    [
        ([("../x.mp4", "0")], "leads out of"),
        ([("/etc/passwd", "0")], "leads out of"),
        ([("a/../../x.mp4", "0")], "leads out of"),
        ([("a.mp4", "7")], "not among the 1 classes"),
        ([("a.mp4", "0"), ("a.mp4", "0")], "listed twice"),
    ],
)
def test_table_refuses_bad_lines(
    tmp_path: Path, videos: list[tuple[str, str]], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        table_of(tmp_path, listed(*videos), {"0": 0})


def test_real_ucf101_lists_have_the_official_counts(test_data: Path) -> None:
    folder = test_data / "annotations"
    lists = {path.name: path for path in folder.rglob("t*list01.txt")}
    assert len(read_video_list(lists["trainlist01.txt"])) == 9537
    assert len(read_video_list(lists["testlist01.txt"])) == 3783
    classes = read_class_list(next(folder.rglob("classInd.txt")))
    assert next(iter(classes)) == "1"
    assert len(classes) == 101
