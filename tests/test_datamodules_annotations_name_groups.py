"""Groups guessed from file names: those of known datasets are found, others left alone."""

import re
from itertools import product

import pytest

from datamodules.annotations.name_groups import group_in, guess_groups

CLASSES = ("run", "walk", "wave")

NAMED: dict[str, tuple[str, dict[str, str]]] = {
    # form of a path -> what the rule's name says, and a path with its group
    "{c}/v_{c}_g{g:02d}_c{n:02d}.avi": ("UCF101", {"run/v_run_g03_c01.avi": "v_run_g03"}),
    "{c}/person{g:02d}_{c}_d{n}_uncomp.avi": (
        "KTH",
        {"run/person03_run_d1_uncomp.avi": "person03"},
    ),
    "{c}/{w}_{c}{n}.avi": ("Weizmann", {"run/lena_run1.avi": "lena"}),
    "train/{c}/{w}_{c}{n}": ("Weizmann", {"train/run/lena_run1": "lena"}),
    "{c}/{w}_09_{c}_u_nm_np1_ba_goo_{n}.avi": (
        "HMDB51",
        {"run/lena_09_run_u_nm_np1_ba_goo_1.avi": "lena_09"},
    ),
    "{c}/abcdEF-_{g:03d}_{n:06d}_{n}00010.mp4": (
        "Kinetics",
        {"run/abcdEF-_003_000001_100010.mp4": "abcdEF-_003"},
    ),
    "{c}/clip_{g:04d}_part{n}.mp4": ("parts", {"run/clip_0003_part1.mp4": "clip_0003"}),
    "{c}/{w}-Scene-00{n}.mp4": ("parts", {"run/lena-Scene-001.mp4": "lena"}),
    "PS7A{i}P{g}T{n}.avi": ("action and trial", {"PS7A1P3T1.avi": "P3"}),
    "a{i:02d}_s{g:02d}_e{n:02d}.avi": ("action and trial", {"a01_s03_e01.avi": "s03"}),
    "S001C001P{g:03d}R{n:03d}A00{i}_rgb.avi": (
        "NTU",
        {"S001C001P003R001A001_rgb.avi": "P003"},
    ),
    "{c}/v_{c}_{g:02d}_{n:02d}.mpg": ("behind a name", {"run/v_run_03_01.mpg": "v_run_03"}),
}
PEOPLE = ("daria", "denis", "eli", "ido", "lena", "moshe")


def videos(form: str, groups: int = 6, numbers: int = 2) -> tuple[list[str], list[int]]:
    """Paths of a form and their classes."""
    chosen = list(product(range(len(CLASSES)), range(groups), range(numbers)))
    paths = [
        form.format(c=CLASSES[c], i=c, g=g, n=n, w=PEOPLE[g % len(PEOPLE)]) for c, g, n in chosen
    ]
    return paths, [c for c, _, _ in chosen]


@pytest.mark.parametrize("form", NAMED)
def test_names_of_known_kinds_tell_their_groups(form: str) -> None:
    words, expected = NAMED[form]
    paths, labels = videos(form)
    guess = guess_groups(paths, labels)
    assert guess is not None
    assert words in guess.name
    for path, group in expected.items():
        assert path in paths
        assert guess.group_of(path) == group
    # groups are those that the form was filled with, in each class or over all of them
    assert len(set(map(guess.group_of, paths))) in (6, 18)


@pytest.mark.parametrize(
    "form",
    [
        "{c}/{i}{g}{n}.mp4",  # numbers alone
        "{c}/{c}_{g}{n}.mp4",  # the class and a number: one group a class
        "{c}/v_{c}_{g}{n}.mp4",
        "{c}/clip_{g}{n}.mp4",
        "{c}/clip [{c}_{g}{n}].mp4",
        "{c}/video_{c}_{g}{n}.mp4",  # one word before the class, for all
        "{c}/{g}{n}_{c}.mp4",  # numbers before the class may be mere counters
        "{c}/{c}_part{g}{n}.mp4",  # parts of one video make up each class
        "{c}/{w}{g}{n}.mp4",
        "{c}/x{i}{g}{n}_1.mp4",  # one video in each group
        "person1_{c}_{g}{n}.mp4",  # a single person
    ],
)
def test_names_that_tell_nothing_are_left_alone(form: str) -> None:
    paths, labels = videos(form)
    assert guess_groups(paths, labels) is None


def test_two_words_are_no_groups_of_a_weak_rule() -> None:
    paths, labels = videos("{c}/{w}_{n}.mp4", groups=2, numbers=5)
    assert guess_groups(paths, labels) is None
    assert guess_groups([], []) is None


def test_few_odd_names_are_groups_of_their_own() -> None:
    paths, labels = videos("{c}/v_{c}_g{g:02d}_c{n:02d}.avi", groups=10)
    guess = guess_groups([*paths, "run/odd.avi"], [*labels, 0])
    assert guess is not None
    assert guess.group_of("run/odd.avi") == "run/odd.avi"
    assert guess.group_of("run/v_run_g03_c01.avi") == "v_run_g03"
    assert guess.count_shared(["run/odd.avi", *paths[:2]], paths[1:3]) == 2
    odd = [f"run/odd{i}.avi" for i in range(4)]
    assert guess_groups([*paths, *odd], [*labels, 0, 0, 0, 0]) is None


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"g\d+", "g03"),
        (r"_(g\d+)_(c\d+)", "g03"),
        (r"^(?:x(\d)|.*_(c\d+))", "c01"),
        (r"(v)_(?P<group>\w+)_g", "Punch"),
        (r"_p\d+", None),
        (".*", "Punch/v_Punch_g03_c01.avi"),
    ],
)
def test_group_is_the_named_or_first_group_or_the_match(pattern: str, expected: str | None) -> None:
    assert group_in(re.compile(pattern), "Punch/v_Punch_g03_c01.avi") == expected
