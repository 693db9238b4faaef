"""Particles written in a format and read again are the same, as far as the format holds them."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrapicker.files import FORMATS, Particles, match_to_micrographs, read_particles, write_picks
from hydrapicker.files.formats import FormatName
from hydrapicker.files.micrographs import MicrographHeader

HEIGHT, WIDTH = 4092, 5760
# Where y is counted from the other end, float32 keeps so much of it before it is rounded to whole pixels.
WHOLE_PIXELS = 0.5 + float(np.spacing(np.float32(HEIGHT)))
WITHIN_PX = {
    "star": 1e-3, "box": WHOLE_PIXELS, "cbox": 1e-3, "cs": 1e-3, "topaz": WHOLE_PIXELS, "csv": 1e-3, "parquet": 0.0
}  # fmt: skip
HOLDS_SCORES = set(FORMATS) - {"box"}
HOLDS_NOTHING_OF_EMPTY = {"cs", "topaz", "csv", "parquet"}
"""One table for all: a micrograph without particles has no row."""

names = st.sampled_from(["a.mrc", "b c.mrc", "007.mrc", "ünïcode.tif", "d.tiff", "e.mrc.gz"])
xs = st.floats(0, WIDTH - 1, width=32)
ys = st.floats(0, HEIGHT - 1, width=32)
scores = st.floats(0, 1, width=32)
rows = st.lists(st.tuples(xs, ys, scores), max_size=6)


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=15, deadline=None)
@given(st.dictionaries(names, rows, min_size=1, max_size=3))
def test_round_trip(form: FormatName, micrographs: dict[str, list[tuple[float, float, float]]]) -> None:
    tables = {name: np.array(found, np.float32).reshape(-1, 3) for name, found in micrographs.items()}
    particles = {
        f"mics/{name}": Particles(table[:, :2], table[:, 2], 1.25, shape=(HEIGHT, WIDTH), box_px=200.0)
        for name, table in tables.items()
    }
    headers = [MicrographHeader(Path("mics") / name, HEIGHT, WIDTH, 1.25) for name in tables]
    with tempfile.TemporaryDirectory() as folder:
        written = write_picks(form, Path(folder) / "out", particles)
        pattern = Path(folder) / "out" / "micrographs" if form == "star" else written[0].parent
        back = match_to_micrographs(read_particles(pattern), headers, "out").particles
    for name, table in tables.items():
        if len(table) == 0 and form in HOLDS_NOTHING_OF_EMPTY:
            assert Path("mics") / name not in back
            continue
        found = back[Path("mics") / name]
        np.testing.assert_allclose(found.xy, table[:, :2], rtol=0, atol=WITHIN_PX[form])
        if form in HOLDS_SCORES:
            assert found.score is not None
            np.testing.assert_allclose(found.score, table[:, 2], rtol=1e-6)
        else:
            assert found.score is None


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_particles_are_the_same_bytes(tmp_path: Path, form: FormatName) -> None:
    particles = {"a.mrc": Particles(np.float32([[1, 2]]), np.float32([0.5]), 1.0, shape=(9, 9), box_px=3.0)}  # type: ignore[arg-type]
    first, second = (write_picks(form, tmp_path / where, particles) for where in ("one", "two"))
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes().replace(b"/two/", b"/one/")


@pytest.mark.parametrize("form", ["cs", "topaz", "csv", "parquet", "star"])
def test_no_micrograph_at_all(tmp_path: Path, form: FormatName) -> None:
    path = tmp_path / f"p{FORMATS[form].suffixes[0]}"
    write_picks(form, path, {})
    assert read_particles(path) == {}
