"""Finding micrographs by files, folders and globs."""

from pathlib import Path

import numpy as np
import pytest

from hydrapicker.errors import InvalidInputError
from hydrapicker.files import find_micrographs, micrograph_stem


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    for name in ("b.mrc", "a.mrc", "c.TIF", "d.mrc.gz", "e.star", ".hidden.mrc", "x[1].mrc", "deep/f.mrc"):
        (tmp_path / name).write_bytes(np.zeros(4).tobytes())
    return tmp_path


def names(paths: tuple[Path, ...]) -> list[str]:
    return [path.name for path in paths]


def test_folders_globs_and_files_sorted_and_once(folder: Path) -> None:
    assert names(find_micrographs([folder])) == ["a.mrc", "b.mrc", "c.TIF", "d.mrc.gz", "x[1].mrc"]
    assert names(find_micrographs([f"{folder}/*"])) == ["a.mrc", "b.mrc", "c.TIF", "d.mrc.gz", "x[1].mrc"]
    assert names(find_micrographs([f"{folder}/**/*.mrc"])) == ["a.mrc", "b.mrc", "f.mrc", "x[1].mrc"]
    assert names(find_micrographs([folder / "b.mrc", f"{folder}/[ab].mrc", folder / "x[1].mrc"])) == [
        "a.mrc",
        "b.mrc",
        "x[1].mrc",
    ]


def test_a_relative_and_an_absolute_name_of_one_file_are_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert len(find_micrographs(["./a.mrc", folder / "a.mrc", "a.mrc"])) == 1


@pytest.mark.parametrize("pattern", ["none.mrc", "no/*.mrc", "e.star", "*.star", "empty"])
def test_a_pattern_without_micrographs_is_an_error_that_names_it(folder: Path, pattern: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(InvalidInputError) as caught:
        find_micrographs([folder / "a.mrc", folder / pattern])
    assert str(folder / pattern) in str(caught.value)


def test_no_pattern_at_all() -> None:
    with pytest.raises(InvalidInputError, match="no micrographs given"):
        find_micrographs([])


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("m/May08_03.05.02.bin.mrc", "May08_03.05.02.bin"),
        ("a.mrc.bz2", "a"),
        ("000001@x/y.mrcs", "y"),
        ("a.TIFF", "a"),
        ("noend", "noend"),
        ("a.b.c", "a.b.c"),
    ],
)
def test_stems_lose_only_known_suffixes(name: str, stem: str) -> None:
    assert micrograph_stem(name) == stem
