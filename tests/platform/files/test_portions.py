"""Files of more picks than memory holds are written in portions, and are the files that one portion would give."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import starfile

from hydrapicker.errors import InvalidInputError
from hydrapicker.files import FORMATS, Particles, read_particles, tables, write_picks
from hydrapicker.files.formats import FormatName

COMBINED: list[FormatName] = [name for name, form in FORMATS.items() if form.write_all is not None]


class Counting(Mapping[str, Particles]):
    """Particles made when they are asked for; knows how many micrographs are alive at most."""

    def __init__(self, names: list[str], *, scores: bool, pixel_size: float | None) -> None:
        self._names, self._scores, self._pixel_size = names, scores, pixel_size

    def __getitem__(self, name: str) -> Particles:
        random = np.random.default_rng(self._names.index(name))
        count = [0, 7, 1, 30][self._names.index(name) % 4]
        xy = random.uniform(0, 900, (count, 2)).astype(np.float32)
        score = random.uniform(0, 1, count).astype(np.float32) if self._scores else None
        return Particles(xy, score, self._pixel_size, shape=(1000, 900), box_px=40.0)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@pytest.mark.parametrize("count", [0, 1, 2, 9])
@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("form", COMBINED)
def test_portions_give_the_file_that_one_gives(
    form: FormatName, scores: bool, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    particles = Counting([f"a b/{n}.mrc" for n in range(count)], scores=scores, pixel_size=1.5)
    suffix = FORMATS[form].suffixes[0]
    write_picks(form, tmp_path / f"one{suffix}", particles)
    monkeypatch.setattr(tables, "_ROWS_AT_ONCE", 5)
    write_picks(form, tmp_path / f"many{suffix}", particles)
    one, many = tmp_path / f"one{suffix}", tmp_path / f"many{suffix}"
    if form == "parquet":
        import pandas as pd

        pd.testing.assert_frame_equal(pd.read_parquet(many), pd.read_parquet(one))
    else:
        assert many.read_bytes() == one.read_bytes()
    if form == "cs":
        rows = np.load(many, allow_pickle=False)
        assert len(rows) == sum(len(part.xy) for part in particles.values())
    elif sum(len(part.xy) for part in particles.values()) or form == "star":
        found = read_particles(many) if count > 1 else {}
        assert sum(len(part.xy) for part in found.values()) == (0 if count < 2 else sum(map(_count, particles)))


def _count(name: str) -> int:
    return [0, 7, 1, 30][int(name[4]) % 4]


def test_a_star_of_portions_is_read_by_starfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_ROWS_AT_ONCE", 5)
    particles = Counting([f"m{n}.mrc" for n in range(6)], scores=True, pixel_size=2.0)
    write_picks("star", tmp_path / "all.star", particles)
    table = starfile.read(tmp_path / "all.star")
    assert len(table) == 45
    expected = np.concatenate([part.xy for part in particles.values()])
    np.testing.assert_allclose(table[["rlnCoordinateX", "rlnCoordinateY"]], expected, rtol=1e-6)
    assert set(table["rlnMicrographPixelSize"]) == {2.0}


def test_scores_that_only_a_later_portion_lacks_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_ROWS_AT_ONCE", 1)
    xy = np.zeros((3, 2), np.float32)
    mixed = {"a.mrc": Particles(xy, np.ones(3, np.float32), shape=(9, 9)), "b.mrc": Particles(xy, shape=(9, 9))}
    for form in COMBINED:
        with pytest.raises(InvalidInputError, match="some micrographs have scores and some have none"):
            write_picks(form, tmp_path / f"out{FORMATS[form].suffixes[0]}", mixed)
    assert list(tmp_path.iterdir()) == []
