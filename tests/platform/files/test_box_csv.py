"""BOX files in EMAN's own convention, CSV in ours and in Topaz'."""

from pathlib import Path

import numpy as np
import pytest

from hydrapicker.errors import InvalidInputError, ParticlesError
from hydrapicker.files import Convention, Particles, read_particles, write_box, write_csv


def refusal(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ParticlesError) as caught:
        read_particles(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_eman_boxes_become_centres_as_relion_imports_them(tmp_path: Path) -> None:
    lines = [(100, 200, 64, 64), (0, 0, 21, 21), (-10, 5, 20, 30)]
    path = tmp_path / "m.box"
    path.write_text("".join(f"{x}\t{y}\t{w}\t{h}\t-3\n" for x, y, w, h in lines) + "\n")
    found = read_particles(path)["m"]
    expected = [[x + int(w / 2), y + int(h / 2)] for x, y, w, h in lines]  # RELION: num1 + num3 / 2 in integers
    np.testing.assert_array_equal(found.xy, expected)
    assert found.convention is Convention.PROGRAM


@pytest.mark.parametrize("size", [20, 21])
def test_a_box_cuts_its_particle_out_of_the_middle(tmp_path: Path, size: int) -> None:
    """As EMAN2: the image cut at the corner has the particle at [size // 2, size // 2]."""
    image = np.zeros((60, 90), np.float32)
    image[23, 41] = 1
    write_box(tmp_path / "m.box", np.array([[41, 23]], np.float32), size)
    x, y, w, h = (int(word) for word in (tmp_path / "m.box").read_text().split())
    assert (w, h) == (size, size)
    assert np.argwhere(image[y : y + h, x : x + w]).tolist() == [[size // 2, size // 2]]


def test_box_round_trip_to_the_nearest_pixel(tmp_path: Path) -> None:
    xy = (np.random.default_rng(0).random((30, 2)) * 4000).astype(np.float32)
    write_box(tmp_path / "m_picks.box", xy, 21)
    back = read_particles(tmp_path / "m_picks.box")["m"].xy
    assert np.abs(back - xy).max() <= 0.5
    write_box(tmp_path / "m_picks.box", np.empty((0, 2), np.float32), 21)
    assert read_particles(tmp_path / "m_picks.box")["m"].xy.shape == (0, 2)
    with pytest.raises(InvalidInputError, match="box size 0"):
        write_box(tmp_path / "m.box", xy, 0)


@pytest.mark.parametrize("line", ["1 2 3", "1 2 3 x", "1 nan 3 4", "1 2 0 4", "hello"])
def test_lines_that_are_no_boxes(tmp_path: Path, line: str) -> None:
    assert f"line 2 is '{line}'" in refusal(tmp_path / "m.box", f"1 2 3 4\n{line}\n")


def test_binary_boxes(tmp_path: Path) -> None:
    assert "binary" in refusal(tmp_path / "m.box", b"1 2 3 4\n\0\0")
    assert "binary" in refusal(tmp_path / "m.box", b"1 2 3 4\n\xff\xfe")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "micrograph,x,y,score\n007,1.5,2,0.5\nb.mrc,3,4,0.25\n007,5,6,1\n"),
        ("a.csv", "\ufeffMicrograph; X; Y; Confidence\n007; 1.5; 2; 0.5\nb.mrc; 3; 4; 0.25\n007; 5; 6; 1\n"),
        ("a.txt", "image_name\tx_coord\ty_coord\tscore\n007\t1.5\t2\t0.5\nb.mrc\t3\t4\t0.25\n007\t5\t6\t1\n"),
        ("a.tsv", "y score x micrograph\n2 0.5 1.5 007\n4 0.25 3 b.mrc\n6 1 5 007\n"),
    ],
)
def test_tables_with_ours_and_topaz_names(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = read_particles(tmp_path / name)
    assert list(found) == ["007", "b.mrc"]
    np.testing.assert_array_equal(found["007"].xy, [[1.5, 2], [5, 6]])
    np.testing.assert_array_equal(found["007"].score, [0.5, 1])  # type: ignore[arg-type]
    assert found["007"].convention is Convention.STORED


def test_tables_of_one_micrograph_and_of_none(tmp_path: Path) -> None:
    path = tmp_path / "m_picks.csv"
    path.write_text("x,y\n")
    assert read_particles(path)["m"].xy.shape == (0, 2)
    path.write_text("x,y\n1,2\n")
    assert read_particles(path)["m"].xy.tolist() == [[1, 2]]
    path.write_text("micrograph,x,y\n")
    assert read_particles(path) == {}


def test_csv_round_trip(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    particles = {
        name: Particles(rng.random((n, 2), dtype=np.float32) * 5000, rng.random(n, dtype=np.float32))
        for name, n in (("a, b.mrc", 3), ("c.mrc", 4))
    }
    write_csv(tmp_path / "p.csv", particles)
    back = read_particles(tmp_path / "p.csv")
    assert list(back) == list(particles)
    for name, part in particles.items():
        np.testing.assert_allclose(back[name].xy, part.xy, rtol=6e-7)
        np.testing.assert_allclose(back[name].score, part.score, rtol=6e-7)  # type: ignore[arg-type]
    write_csv(tmp_path / "p.csv", {"a": Particles(np.empty((0, 2), np.float32))})
    assert (tmp_path / "p.csv").read_text() == "micrograph,x,y\n"
    with pytest.raises(InvalidInputError, match="some have none"):
        write_csv(tmp_path / "p.csv", {**particles, "d": Particles(np.zeros((1, 2), np.float32))})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "empty file"),
        ("1,2\n3,4\n", "no columns x and y; the first line has to name them (it is: 1, 2)"),
        ("micrograph,x,y\na,1,b\n", "1 of 1 entries of y are not finite numbers (the first, row 1: 'b')"),
        ("micrograph,x,y\na,nan,1\n", "1 of 1 entries of x"),
        ("micrograph,x,y\n,1,2\n", "1 of 1 rows name no micrograph"),
        ("micrograph,x,y\na,1,2\nb,1,2,3\n", "not a table"),
        ("micrograph,x,y\na,1,2,3\n", "rows have more columns than the first line names"),
        ("micrograph,x,y\na,1\n", "1 of 1 entries of y"),
        (b"x,y\n\xff\xfe,1\n", "not a table"),
        (b"x,y\n\0\0", "binary"),
    ],
)
def test_bad_tables(tmp_path: Path, content: str | bytes, expected: str) -> None:
    assert expected in refusal(tmp_path / "m.csv", content)
