"""Micrographs are found where RELION, or whoever wrote the file, would have them."""

from pathlib import Path

import pytest

from hydrapicker.errors import InvalidInputError
from hydrapicker.files.locate import locate_micrographs


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with a job in it, seen from elsewhere."""
    for name in ("mics/a.mrc", "mics/b.tif", "more/a.mrc", "AutoPick/job001/c.mrc"):
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "project"


def test_names_are_relative_to_the_file_or_to_a_folder_above_it(project: Path) -> None:
    names = ["mics/a.mrc", "000001@mics/b.tif", "c.mrc", "mics/gone.mrc", "a", "mics", str(project / "more" / "a.mrc")]
    for named_in in (project / "AutoPick" / "job001" / "picks.star", project / "AutoPick" / "job001"):
        found = locate_micrographs(names, named_in)
        assert {name: path.relative_to(project) for name, path in found.items()} == {
            "mics/a.mrc": Path("mics/a.mrc"),
            "000001@mics/b.tif": Path("mics/b.tif"),
            "c.mrc": Path("AutoPick/job001/c.mrc"),
            str(project / "more" / "a.mrc"): Path("more/a.mrc"),
        }
    assert locate_micrographs(["mics/a.mrc"], Path("picks.star")) == {}
    assert locate_micrographs([], project) == {}


def test_among_those_given_the_stem_decides(project: Path) -> None:
    given = [str(project / "mics")]
    found = locate_micrographs(["x/a.mrc", "a", "b.mrc", "c"], Path("picks.star"), given)
    assert found == {"x/a.mrc": project / "mics/a.mrc", "a": project / "mics/a.mrc", "b.mrc": project / "mics/b.tif"}


def test_two_of_a_stem_are_told_apart_by_their_path_or_refused(project: Path) -> None:
    given = [str(project / "mics"), str(project / "more")]
    exact = str(project / "more" / "a.mrc")
    assert locate_micrographs([exact], Path("picks.star"), given) == {exact: project / "more/a.mrc"}
    with pytest.raises(InvalidInputError, match=r"a may be .*: give the micrographs of one folder at a time"):
        locate_micrographs(["a"], Path("picks.star"), given)
