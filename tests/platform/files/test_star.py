"""STAR files as RELION writes them, word for word, and every way they can be bad."""

from pathlib import Path

import numpy as np
import pytest
import starfile

from hydrapicker.errors import InvalidInputError, ParticlesError
from hydrapicker.files import (
    Convention,
    OutputError,
    Particles,
    read_particles,
    write_autopick_star,
    write_combined_star,
)

AUTOPICK = """
# version 30001

data_

loop_ 
_rlnCoordinateX #1 
_rlnCoordinateY #2 
_rlnAutopickFigureOfMerit #3 
_rlnClassNumber #4 
_rlnAnglePsi #5 
 1240.000000   356.500000     1.250000            1    90.000000 
   12.000000  3700.000000    -0.500000            2   180.000000 
 
"""  # noqa: W291, W293

REFINED = """
# version 30001

data_optics

loop_ 
_rlnOpticsGroupName #1 
_rlnOpticsGroup #2 
_rlnMicrographPixelSize #3 
_rlnMicrographOriginalPixelSize #4 
_rlnImagePixelSize #5 
opticsGroup1            1     0.885000     0.4425     3.540000 
opticsGroup2            2     1.200000     0.6        3.540000 
 

# version 30001

data_particles

loop_ 
_rlnCoordinateX #1 
_rlnCoordinateY #2 
_rlnMicrographName #3 
_rlnImageName #4 
_rlnOpticsGroup #5 
  100.5  200.25 MotionCorr/job002/Movies/007.mrc 000001@Extract/job018/Movies/007.mrcs            1 
    3.0    4.0  MotionCorr/job002/Movies/008.mrc 000001@Extract/job018/Movies/008.mrcs            2 
  300.0  400.0  MotionCorr/job002/Movies/007.mrc 000002@Extract/job018/Movies/007.mrcs            1 
 
"""  # noqa: W291, W293


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ParticlesError) as caught:
        read_particles(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_relions_autopick_file(tmp_path: Path) -> None:
    (name, particles), *others = read_particles(written(tmp_path / "007_autopick.star", AUTOPICK)).items()
    assert (name, others) == ("007", [])
    assert particles.xy.dtype == np.float32
    np.testing.assert_array_equal(particles.xy, np.array([[1240, 356.5], [12, 3700]]))
    assert particles.score is not None
    np.testing.assert_array_equal(particles.score, np.array([1.25, -0.5], np.float32))
    assert particles.pixel_size_angstrom is None
    assert particles.convention is Convention.PROGRAM


def test_relions_particles_with_an_optics_table(tmp_path: Path) -> None:
    found = read_particles(written(tmp_path / "run_data.star", REFINED))
    first, second = found["MotionCorr/job002/Movies/007.mrc"], found["MotionCorr/job002/Movies/008.mrc"]
    np.testing.assert_array_equal(first.xy, np.array([[100.5, 200.25], [300, 400]]))
    np.testing.assert_array_equal(second.xy, np.array([[3, 4]]))
    assert (first.pixel_size_angstrom, second.pixel_size_angstrom) == (0.885, 1.2)
    assert first.score is None


def test_the_pixel_of_extracted_images_or_of_the_movie_is_not_the_micrographs(tmp_path: Path) -> None:
    text = REFINED.replace("_rlnMicrographPixelSize", "_rlnSomethingElse")
    found = read_particles(written(tmp_path / "a.star", text))
    assert {particles.pixel_size_angstrom for particles in found.values()} == {None}


def test_numeric_names_stay_names_and_spaces_may_be_quoted(tmp_path: Path) -> None:
    text = 'data_x\n\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n007 1 2\n"my mic.mrc" 3 4\n'
    assert list(read_particles(written(tmp_path / "a.star", text))) == ["007", "my mic.mrc"]


def test_a_table_without_rows_is_a_micrograph_without_particles(tmp_path: Path) -> None:
    text = AUTOPICK.split(" 1240.")[0]
    for end in ("", " \n"):
        found = read_particles(written(tmp_path / "m_autopick.star", text + end))
        assert found["m"].xy.shape == (0, 2)


@pytest.mark.parametrize("count", [0, 1, 40])
def test_autopick_round_trip_and_relions_layout(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(count)
    xy = (rng.random((count, 2)) * 11000).astype(np.float32)
    score = (rng.random(count) * 1e-7).astype(np.float32)
    path = tmp_path / "new" / "m_autopick.star"
    write_autopick_star(path, xy, score)
    lines = path.read_text().splitlines()
    assert lines[:4] == ["# version 30001", "data_", "", "loop_"]
    assert [line.split()[0] for line in lines[4:9]] == [
        "_rlnCoordinateX",
        "_rlnCoordinateY",
        "_rlnAutopickFigureOfMerit",
        "_rlnClassNumber",
        "_rlnAnglePsi",
    ]
    back = read_particles(path)["m"]
    np.testing.assert_allclose(back.xy, xy, rtol=6e-7)
    np.testing.assert_allclose(back.score, score, rtol=6e-7)  # type: ignore[arg-type]
    write_autopick_star(path, xy, None)
    assert read_particles(path)["m"].score is None


def test_combined_round_trip_and_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    particles = {
        f"mics/{name}.mrc": Particles(rng.random((n, 2), dtype=np.float32) * 100, rng.random(n, dtype=np.float32))
        for name, n in (("007", 3), ("none", 0), ("my mic", 2))
    }
    path = tmp_path / "particles.star"
    write_combined_star(path, particles, 1.25)
    first = path.read_bytes()
    table = starfile.read(path)
    assert list(table.columns) == [
        "rlnMicrographName",
        "rlnCoordinateX",
        "rlnCoordinateY",
        "rlnAutopickFigureOfMerit",
        "rlnMicrographPixelSize",
    ]
    back = read_particles(path)
    assert list(back) == ["mics/007.mrc", "mics/my mic.mrc"]
    for name, part in back.items():
        np.testing.assert_allclose(part.xy, particles[name].xy, rtol=6e-7)
        assert part.pixel_size_angstrom == 1.25
    write_combined_star(path, particles, 1.25)
    assert path.read_bytes() == first
    write_combined_star(path, {}, None)
    assert read_particles(path) == {}
    with pytest.raises(InvalidInputError, match="some have none"):
        write_combined_star(path, {"a": particles["mics/007.mrc"], "b": Particles(np.zeros((1, 2), np.float32))}, 1.0)


def test_a_file_that_changes_is_read_anew(tmp_path: Path) -> None:
    path = written(tmp_path / "a.star", AUTOPICK.replace("1240.000000", "bad"))
    refusal(path)
    written(path, AUTOPICK.replace("1240.000000", "1241.00000"))
    assert read_particles(path)["a"].xy[0, 0] == 1241


def test_files_that_are_no_coordinates(tmp_path: Path) -> None:
    path = tmp_path / "a.star"
    assert "no such particle file" in refusal(path)
    assert "empty file" in refusal(written(path, " \n\n"))
    assert "no data_ block" in refusal(written(path, "hello\nworld\n"))
    assert "no table with rlnCoordinateX and rlnCoordinateY (columns: rlnOpt" in refusal(
        written(path, REFINED.replace("_rlnCoordinateX", "_rlnX"))
    )
    path.write_bytes(b"data_\n\nloop_\n" + bytes(range(256)) * 20)
    assert "binary" in refusal(path)
    assert "2 tables have coordinates" in refusal(written(path, AUTOPICK + AUTOPICK.replace("data_", "data_b")))
    listing = "data_files\n\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\nm.mrc Pick/7/m_autopick.star\n"
    assert "lists coordinate files" in refusal(written(path, listing))
    assert refusal(path).endswith("Pick/7")


@pytest.mark.parametrize("word", ["abc", "nan", "inf", "<NA>"])
def test_entries_that_are_not_finite_numbers(tmp_path: Path, word: str) -> None:
    for good in ("356.500000", "-0.500000"):
        message = refusal(written(tmp_path / "a.star", AUTOPICK.replace(good, word)))
        assert "1 of 2 entries of rln" in message


@pytest.mark.parametrize("end", ["1 2 3 4 5 6 7\n", "1 2\n", "data_next", "data_next\n_a\n", 'data_next\n_a "b\n'])
def test_damaged_tables_are_refused_in_one_line_or_read(tmp_path: Path, end: str) -> None:
    path = written(tmp_path / "a.star", AUTOPICK + end)
    assert "a.star: " in refusal(path)


def test_a_folder_or_glob_of_files_and_a_micrograph_in_two(tmp_path: Path) -> None:
    for name in ("a_autopick.star", "b_manualpick.star", "c.mrc.star", ".d.star"):
        written(tmp_path / name, AUTOPICK)
    assert list(read_particles(tmp_path)) == ["a", "b", "c.mrc"]
    assert list(read_particles(tmp_path / "*_autopick.star")) == ["a"]
    written(tmp_path / "a.star", AUTOPICK)
    assert "micrograph a is in a.star and in a_autopick.star" in refusal(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "no particle files there" in refusal(tmp_path / "empty")
    assert "unknown suffix" in refusal(written(tmp_path / "a.json", "{}"))


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"a\.star: cannot be written"):
        write_autopick_star(tmp_path / "file" / "a.star", np.zeros((1, 2), np.float32), None)


def test_numbers_no_float_can_hold_and_columns_named_twice(tmp_path: Path) -> None:
    for other in ("12", "12.5", "<NA>"):  # starfile and pandas take another way for each
        text = AUTOPICK.replace("1240.000000", "9" * 400).replace("12.000000", other)
        assert "a.star: " in refusal(written(tmp_path / "a.star", text))
    doubled = AUTOPICK.replace("_rlnAnglePsi", "_rlnCoordinateX")
    assert "2 columns are called rlnCoordinateX" in refusal(written(tmp_path / "a.star", doubled))


def test_what_a_file_holds_is_quoted_in_plain_text(tmp_path: Path) -> None:
    """A control character in a file is no command to the terminal that shows the refusal."""
    (tmp_path / "a.box").write_text("1\t2\t\x1b[31mred\x07\t4\n")
    message = refusal(tmp_path / "a.box")
    assert message.isprintable()
    assert r"line 1 is '1 2 \x1b[31mred\x07 4'" in message
