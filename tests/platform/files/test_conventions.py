"""One pattern of particles in every program's own convention, as literal numbers, read and written.

The micrograph is 100 pixels wide and 60 high; the pattern has no symmetry. Sources, of each program's own text:

* RELION: coordinates are pixels from 0 (``src/preprocessing.cpp``, ``extractParticlesFromOneMicrograph``), a TIFF's
  last stored row is y = 0 (``src/rwTIFF.h``, "Flip the Y axis"); layout of ``src/autopicker.cpp``.
* EMAN2: ``x y w h`` from the corner, ``Region(x - boxsize // 2, ...)``; TIFF as RELION (``libEM/io/tifio.cpp``).
* crYOLO: ``CoordsIO.write_cbox_file`` (columns, blocks, ``<NA>``), ``write_star_file`` (centre = corner + width / 2),
  ``read_mrc`` (``np.flipud``, then y counts from the bottom, so that an MRC's first stored row is y = 0).
* cryoSPARC: cryosparc-tools, ``tests/conftest.py`` (the dtype and the two rows of T20S) and
  ``docs/examples/cryolo.ipynb`` (``center_y_frac = rlnCoordinateY / height``).
* Topaz: ``topaz/utils/files.py`` and its README ("Coordinates index images from the top left").
"""

from pathlib import Path

import numpy as np
import pytest
import starfile

from hydrapicker.errors import InvalidInputError, ParticlesError
from hydrapicker.files import (
    FORMATS,
    MicrographHeader,
    Particles,
    format_of,
    match_to_micrographs,
    read_particles,
    write_picks,
)

HEIGHT, WIDTH = 60, 100
PATTERN = np.array([[10, 5], [80, 7], [33, 50]], np.float32)
SCORE = np.array([0.75, 0.5, 0.25], np.float32)

RELION = """
# version 30001

data_

loop_ 
_rlnCoordinateX #1 
_rlnCoordinateY #2 
_rlnAutopickFigureOfMerit #3 
_rlnClassNumber #4 
_rlnAnglePsi #5 
   10.000000  {:9.6f}     0.750000            0     0.000000 
   80.000000  {:9.6f}     0.500000            0     0.000000 
   33.000000  {:9.6f}     0.250000            0     0.000000 
 
"""  # noqa: W291, W293
EMAN = "0\t{}\t20\t20\n70\t{}\t20\t20\n23\t{}\t20\t20\n"
CRYOLO = """
data_global

_cbox_format_version 1.0

data_cryolo

loop_
_CoordinateX #1
_CoordinateY #2
_CoordinateZ #3
_Width #4
_Height #5
_Depth #6
_EstWidth #7
_EstHeight #8
_Confidence #9
_NumBoxes #10
_Angle #11
-0.5 {} <NA> 21.0 21.0 <NA> 19.5 18.2 0.75 3.0 <NA>
69.5 {} <NA> 21.0 21.0 <NA> 19.5 18.2 0.5 1.0 <NA>
22.5 {} <NA> 21.0 21.0 <NA> 19.5 18.2 0.25 2.0 <NA>

data_cryolo_include

loop_
_slice_index #1

"""
TOPAZ = "image_name\tx_coord\ty_coord\tscore\nm\t10\t5\t0.75\nm\t80\t7\t0.5\nm\t33\t50\t0.25\n"

TEXTS = {
    ("star", "m.mrc"): RELION.format(5, 7, 50),
    ("star", "m.tif"): RELION.format(54, 52, 9),
    ("box", "m.mrc"): EMAN.format(-5, -3, 40),
    ("box", "m.tif"): EMAN.format(44, 42, -1),
    ("cbox", "m.mrc"): CRYOLO.format(-5.5, -3.5, 39.5),
    ("cbox", "m.tif"): CRYOLO.format(43.5, 41.5, -1.5),
    ("topaz", "m.mrc"): TOPAZ,
    ("topaz", "m.tif"): TOPAZ,
}

CS_FIELDS = [
    ("uid", "<u8"),
    ("location/micrograph_uid", "<u8"),
    ("location/exp_group_id", "<u4"),
    ("location/micrograph_path", "S100"),
    ("location/micrograph_shape", "<u4", (2,)),
    ("location/center_x_frac", "<f4"),
    ("location/center_y_frac", "<f4"),
    ("location/min_dist_A", "<f4"),
]


def in_stored_rows(file: Path, micrograph: str) -> Particles:
    header = MicrographHeader(Path(micrograph), HEIGHT, WIDTH, 1.0)
    (found,) = match_to_micrographs(read_particles(file), [header], file).particles.values()
    return found


def given(micrograph: str, **changed: object) -> dict[str, Particles]:
    return {micrograph: Particles(PATTERN, SCORE, 1.5, **{"shape": (HEIGHT, WIDTH), "box_px": 20.0, **changed})}  # type: ignore[arg-type]


def save_cs(path: Path, rows: list[tuple[object, ...]]) -> Path:
    with path.open("wb") as file:
        np.save(file, np.array(rows, CS_FIELDS))
    return path


@pytest.mark.parametrize(("form", "micrograph"), TEXTS)
def test_files_as_the_programs_write_them(tmp_path: Path, form: str, micrograph: str) -> None:
    file = tmp_path / f"m{FORMATS[form].suffixes[0]}"  # type: ignore[index]
    file.write_text(TEXTS[form, micrograph])
    found = in_stored_rows(file, micrograph)
    np.testing.assert_array_equal(found.xy, PATTERN)
    if form == "box":
        assert (found.score, found.box_px) == (None, 20)
    else:
        np.testing.assert_array_equal(found.score, SCORE)  # type: ignore[arg-type]
    assert form != "cbox" or found.box_px == 21


@pytest.mark.parametrize("micrograph", ["m.mrc", "m.tif"])
def test_cryosparcs_fractions_count_stored_rows(tmp_path: Path, micrograph: str) -> None:
    name = f"J1/imported/{micrograph}".encode()
    fractions = [(0.1, 0.083333333), (0.8, 0.116666667), (0.33, 0.833333333)]
    rows = [(n, 7, 0, name, (60, 100), x, y, 0.0) for n, (x, y) in enumerate(fractions)]
    found = in_stored_rows(save_cs(tmp_path / "p.cs", rows), micrograph)
    np.testing.assert_allclose(found.xy, PATTERN, atol=1e-4)
    assert found.score is None


def test_rows_of_cryosparcs_own_tests(tmp_path: Path) -> None:
    a = "J14/motioncorrected/012756078269171603280_14sep05c_c_00003gr_00014sq_00005hl_00005es.frames_patch.mrc"
    b = "J14/motioncorrected/008578565574161745010_14sep05c_c_00003gr_00014sq_00006hl_00003es.frames_patch.mrc"
    rows = [
        (1832753233363106142, 12756078269171603280, 0, a.encode(), (7676, 7420), 0.08965518, 0.52166665, 100.0),
        (2803196405397048440, 8578565574161745010, 0, b.encode(), (7676, 7420), 0.38448277, 0.18333334, 100.0),
    ]
    rows = [(*row[:3], row[3].ljust(100, b"\0"), *row[4:]) for row in rows]  # type: ignore[attr-defined]
    fields = [(name, "S160", *rest) if kind == "S100" else (name, kind, *rest) for name, kind, *rest in CS_FIELDS]
    with (tmp_path / "p.cs").open("wb") as file:
        np.save(file, np.array(rows, fields))
    found = read_particles(tmp_path / "p.cs")
    assert list(found) == [a, b]
    np.testing.assert_allclose(found[a].xy, [[665.2414, 4004.3132]], atol=2e-3)  # 7420 and 7676 times the fractions
    np.testing.assert_allclose(found[b].xy, [[2852.8622, 1407.2667]], atol=2e-3)
    assert found[a].shape == (7676, 7420)
    # Written again, exposures keep the ids that their names hold, by which cryoSPARC finds them.
    write_picks("cs", tmp_path / "again.cs", found)
    again = np.load(tmp_path / "again.cs", allow_pickle=False)
    assert again["location/micrograph_uid"].tolist() == [12756078269171603280, 8578565574161745010]
    np.testing.assert_allclose(again["location/center_y_frac"], [0.52166665, 0.18333334], rtol=1e-6)
    assert again["location/micrograph_shape"].tolist() == [[7676, 7420]] * 2
    assert again["location/micrograph_path"].tolist() == [a.encode(), b.encode()]
    assert len(set(again["uid"].tolist())) == 2


@pytest.mark.parametrize("micrograph", ["m.mrc", "m.tif"])
def test_what_is_written_is_in_the_programs_convention(tmp_path: Path, micrograph: str) -> None:
    y = [5, 7, 50] if micrograph == "m.mrc" else [54, 52, 9]
    (star, _) = write_picks("star", tmp_path / "star", given(micrograph))
    assert star == tmp_path / "star" / "micrographs" / "m_autopick.star"
    table = starfile.read(star)
    assert table["rlnCoordinateX"].tolist() == [10, 80, 33]
    assert table["rlnCoordinateY"].tolist() == y
    (box,) = write_picks("box", tmp_path / "box", given(micrograph))
    assert box.read_text() == TEXTS["box", micrograph]
    (cbox,) = write_picks("cbox", tmp_path / "cbox", given(micrograph, box_px=21.0))
    assert cbox.name == "m.cbox"
    blocks = starfile.read(cbox, always_dict=True)
    assert str(blocks["global"]["cbox_format_version"]) == "1.0"
    cryolo = blocks["cryolo"]
    assert cryolo["CoordinateX"].tolist() == [-0.5, 69.5, 22.5]
    assert cryolo["CoordinateY"].tolist() == [value - 10.5 for value in y]
    assert cryolo["Width"].tolist() == cryolo["Height"].tolist() == [21] * 3
    assert cryolo["Confidence"].tolist() == [0.75, 0.5, 0.25]
    assert [f"_{column}" for column in cryolo.columns] == [
        line.split()[0] for line in CRYOLO.splitlines() if line.startswith("_") and "#" in line
    ][:-1]
    (topaz,) = write_picks("topaz", tmp_path / "topaz", given(micrograph))
    assert (topaz.name, topaz.read_text()) == ("picks.txt", TOPAZ)
    (cs,) = write_picks("cs", tmp_path / "cs", given(micrograph))
    rows = np.load(cs, allow_pickle=False)
    np.testing.assert_allclose(rows["location/center_x_frac"], [0.1, 0.8, 0.33], rtol=1e-6)
    np.testing.assert_allclose(rows["location/center_y_frac"], [0.083333333, 0.116666667, 0.833333333], rtol=1e-6)
    np.testing.assert_array_equal(rows["pick_stats/ncc_score"], SCORE)
    assert rows["location/micrograph_psize_A"].tolist() == [1.5] * 3
    assert "metafile: '>picks.cs'\n    num_items: 3\n    type: particle.location" in cs.with_suffix(".csg").read_text()


def test_the_list_by_which_relion_takes_picks_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``AutoPick/job006/autopick.star`` of RELION 4 and 5: names relative to the project's folder."""
    monkeypatch.chdir(tmp_path)
    write_picks("star", "Picks", given("MotionCorr/job002/m.mrc") | given("MotionCorr/job002/my mic.mrc"))
    blocks = starfile.read("Picks/autopick.star", always_dict=True)
    assert list(blocks) == ["coordinate_files"]
    table = blocks["coordinate_files"]
    assert list(table.columns) == ["rlnMicrographName", "rlnMicrographCoordinates"]
    assert table["rlnMicrographName"].tolist() == ["MotionCorr/job002/m.mrc", "MotionCorr/job002/my mic.mrc"]
    assert table["rlnMicrographCoordinates"].tolist() == [
        "Picks/micrographs/m_autopick.star",
        "Picks/micrographs/my mic_autopick.star",
    ]
    assert all(Path(name).is_file() for name in table["rlnMicrographCoordinates"])
    assert Path("Picks/autopick.star").read_text().splitlines()[:5] == [
        "# version 30001", "", "data_coordinate_files", "", "loop_",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "particles", "words"),
    [
        ("box", given("m.mrc", box_px=None), "EMAN's .box files need the size of the boxes"),
        ("cbox", {"m.mrc": Particles(PATTERN, box_px=20)}, "need scores, and m.mrc has none"),
        ("cs", given("m.mrc", shape=None), "need the size of m.mrc in pixels"),
        ("box", given("m.tif", shape=None), "m.tif: its rows are counted from the other end"),
        ("box", given("a/m.mrc") | given("b/m.mrc"), "a/m.mrc and b/m.mrc would be one file"),
        ("topaz", given("a/m.mrc") | given("b/m.mrc"), "two are the same"),
        ("star", given("a/.."), "a name that no file can have"),
        ("star", given("a/x\0y.mrc"), "a name that no file can have"),
        ("csv", given("m.mrc") | {"n.mrc": Particles(PATTERN)}, "some have none"),
        ("cs", given("m.mrc") | {"n.mrc": Particles(PATTERN, shape=(60, 100))}, "some have none"),
    ],
)
def test_what_a_format_cannot_hold_leaves_nothing(
    tmp_path: Path, form: str, particles: dict[str, Particles], words: str
) -> None:
    with pytest.raises((InvalidInputError, ParticlesError)) as caught:
        write_picks(form, tmp_path / "out", particles)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_file_of_one_cannot_hold_two(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="has a file per micrograph, and there are 2; give a folder"):
        write_picks("box", tmp_path / "p.box", given("m.mrc") | given("n.mrc"))
    assert write_picks("box", tmp_path / "p.box", given("m.mrc")) == [tmp_path / "p.box"]


def test_suffixes_tell_formats() -> None:
    names = {"a.STAR": "star", "a.box": "box", "a.cbox": "cbox", "a.cs": "cs", "a.txt": "topaz", "a.tsv": "csv"}
    assert {name: format_of(name) for name in names} == names
    assert format_of("a.parquet") == "parquet"
    assert format_of("folder") is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a .cs file"),
        (b"\x94CSDAT" + bytes(40), "in cryoSPARC's compressed form"),
        (b"\x80\x04\x95" + bytes(40), "not a .cs file"),
        (b"PK\x03\x04" + bytes(40), "not a .cs file"),
    ],
)
def test_what_is_no_cs_file(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "p.cs").write_bytes(content)
    with pytest.raises(ParticlesError, match=words):
        read_particles(tmp_path / "p.cs")


def test_a_pickle_in_a_cs_file_is_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "sprung",))  # type: ignore[return-value]

    with (tmp_path / "p.cs").open("wb") as file:
        np.save(file, np.array([(Trap(),)], [("location/micrograph_path", "O")]), allow_pickle=True)
    with pytest.raises(ParticlesError, match=r"p\.cs: not a \.cs file, or a damaged one"):
        read_particles(tmp_path / "p.cs")
    assert not (tmp_path / "sprung").exists()
