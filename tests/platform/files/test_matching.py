"""Names to micrographs, rows of MRC and TIFF, and particles outside."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from hydrapicker.errors import ParticlesError
from hydrapicker.files import (
    Convention,
    MicrographHeader,
    Particles,
    check_inside,
    from_program_convention,
    match_to_micrographs,
    read_header,
    read_micrograph,
    read_particles,
    to_program_convention,
    write_autopick_star,
    write_box,
    write_csv,
    write_mrc,
)

ONE = Particles(np.array([[1, 2]], np.float32), np.array([0.5], np.float32))


def header(path: str, height: int = 30, width: int = 50) -> MicrographHeader:
    return MicrographHeader(Path(path), height, width, 1.0)


def meant(name: str, *paths: str) -> str:
    (path,) = match_to_micrographs({name: ONE}, [header(path) for path in paths], "p.star").particles
    return str(path)


def refusal(particles: dict[str, Particles], *headers: MicrographHeader) -> str:
    with pytest.raises(ParticlesError) as caught:
        match_to_micrographs(particles, headers, "p.star")
    message = str(caught.value)
    assert message.startswith("p.star: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "paths", "expected"),
    [
        ("/d/a.mrc", ["/d/a.mrc", "/e/a.mrc"], "/d/a.mrc"),
        ("job/a.mrc", ["/d/a.mrc", "/d/b.mrc"], "/d/a.mrc"),
        ("a.mrc", ["/d/a.mrc", "/d/a.tif"], "/d/a.mrc"),
        ("a", ["/d/a.mrc.gz", "/d/b.mrc"], "/d/a.mrc.gz"),
        ("x/a.mrc", ["/d/a.tif"], "/d/a.tif"),
        ("000001@x/a.mrcs", ["/d/a.mrc"], "/d/a.mrc"),
        ("g2/a.mrc", ["/d/g1/a.mrc", "/d/g2/a.mrc"], "/d/g2/a.mrc"),
        ("a.b", ["/d/a.b.mrc"], "/d/a.b.mrc"),
    ],
)
def test_names_mean_the_same_path_then_file_then_stem(name: str, paths: list[str], expected: str) -> None:
    assert meant(name, *paths) == expected
    assert meant(name, *reversed(paths)) == expected


def test_a_relative_name_is_the_path_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert meant("a.mrc", f"{tmp_path}/a.mrc", "/other/a.mrc") == f"{tmp_path}/a.mrc"


def test_ambiguous_unknown_and_doubled_names_are_refused() -> None:
    assert "a may mean /d/a.mrc, /d/a.tif;" in refusal({"a": ONE}, header("/d/a.mrc"), header("/d/a.tif"))
    unknown = refusal({f"n{i}.mrc": ONE for i in range(5)} | {"a": ONE}, header("/d/a.mrc"))
    assert "5 of 6 micrographs it names are not among the 1 given (n0.mrc, n1.mrc, n2.mrc and 2 more)" in unknown
    assert "a and a.mrc both mean /d/a.mrc" in refusal({"a": ONE, "a.mrc": ONE}, header("/d/a.mrc"))


def test_unlisted_micrographs_and_no_particles_at_all() -> None:
    result = match_to_micrographs({"a": ONE}, [header("a.mrc"), header("b.mrc")], "p.star")
    assert result.unlisted == (Path("b.mrc"),)
    empty = match_to_micrographs({"a": Particles(np.empty((0, 2), np.float32))}, [header("a.mrc")], "p.star")
    assert (empty.total, empty.outside, empty.particles[Path("a.mrc")].xy.shape) == (0, 0, (0, 2))
    assert match_to_micrographs({}, [], "p.star").particles == {}


def test_pixels_reach_half_a_pixel_beyond_their_centres() -> None:
    xy = [[-0.5, 0], [-0.6, 0], [49.4, 29.4], [49.5, 0], [0, 29.5], [0, -1], [25, 40]]
    inside = check_inside(np.array(xy, np.float32), header("a.mrc"))
    assert inside.tolist() == [True, False, True, False, False, False, False]
    assert check_inside(np.empty((0, 2), np.float32), header("a.mrc")).shape == (0,)


@pytest.mark.parametrize(("outside", "refused"), [(0, False), (1, False), (2, False), (3, True), (100, True)])
def test_few_outside_are_dropped_and_more_than_one_percent_refused(outside: int, refused: bool) -> None:
    parts = {}
    for name, n, out in (("a", 50, outside), ("b", 150, 0)):
        xy = np.tile(np.array([[10, 20]], np.float32), (n + out, 1))
        xy[:out] = 60, 20
        parts[name] = Particles(xy[: 200 - 150 if name == "a" else None], np.arange(len(xy), dtype=np.float32)[:n])
    headers = header("a.mrc"), header("b.mrc")
    if refused:
        count = min(outside, 50)
        message = refusal(parts, *headers)
        assert f"{count} of 200 particles lie outside" in message
        assert "x 60, y 20 of a, 50 x 30 pixels" in message
    else:
        result = match_to_micrographs(parts, headers, "p.star")
        assert (result.outside, result.total) == (outside, 200)
        kept = result.particles[Path("a.mrc")]
        assert len(kept.xy) == 50 - outside
        assert kept.score is not None
        assert kept.score.tolist() == list(range(outside, 50))


def relion_rows(path: Path) -> np.ndarray:
    """The image as RELION and EMAN2 hold it: TIFF rows reversed on reading (rwTIFF.h, tifio.cpp), MRC as stored."""
    image = read_micrograph(path).image
    return image[::-1] if path.suffix == ".tif" else image


@pytest.mark.parametrize("suffix", [".mrc", ".tif"])
@pytest.mark.parametrize("kind", ["star", "box", "csv"])
def test_a_marked_pixel_stays_under_its_coordinate(tmp_path: Path, suffix: str, kind: str) -> None:
    image = np.random.default_rng(5).random((31, 52)).astype(np.float32)
    marked = np.array([[7, 3], [44, 20], [0, 30]], np.float32)
    image[marked[:, 1].astype(int), marked[:, 0].astype(int)] = 100
    path = tmp_path / f"m{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, image)
    else:
        write_mrc(path, image, 1.0)
    seen = relion_rows(path) if kind != "csv" else image
    by_program = np.argwhere(seen == 100)[:, ::-1].astype(np.float32)  # what a user of that program would note down
    file = tmp_path / f"m.{kind}"
    if kind == "star":
        lines = "".join(f"{x} {y}\n" for x, y in by_program)
        file.write_text("data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n" + lines)
    elif kind == "box":
        file.write_text("".join(f"{x - 5:.0f} {y - 5:.0f} 10 10\n" for x, y in by_program))
    else:
        file.write_text("micrograph,x,y\n" + "".join(f"m,{x},{y}\n" for x, y in by_program))
    (found,) = match_to_micrographs(read_particles(file), [read_header(path)], file).particles.values()
    assert found.convention is Convention.STORED
    assert sorted(map(tuple, found.xy)) == sorted(map(tuple, marked))
    assert (image[found.xy[:, 1].astype(int), found.xy[:, 0].astype(int)] == 100).all()


@pytest.mark.parametrize("suffix", [".mrc", ".tif", ".TIFF"])
@pytest.mark.parametrize("kind", ["star", "box", "csv"])
def test_what_is_written_comes_back(tmp_path: Path, suffix: str, kind: str) -> None:
    xy = np.array([[7, 3], [44, 20]], np.float32)
    micrograph, file = header(f"/d/m{suffix}", 31, 52), tmp_path / f"m.{kind}"
    program = to_program_convention(xy, micrograph.path, micrograph.height)
    assert (program[:, 1].tolist() == [3, 20]) == (suffix == ".mrc")
    np.testing.assert_array_equal(from_program_convention(program, micrograph.path, micrograph.height), xy)
    assert xy.tolist() == [[7, 3], [44, 20]]
    if kind == "star":
        write_autopick_star(file, program, None)
    elif kind == "box":
        write_box(file, program, 10)
    else:
        write_csv(file, {"m": Particles(xy)})
    (found,) = match_to_micrographs(read_particles(file), [micrograph], file).particles.values()
    np.testing.assert_array_equal(found.xy, xy)
