"""``--append``: a new version that uses the old shards again, and says what it left out."""

from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from hydrapicker.errors import DatasetNotFoundError, InvalidInputError, MicrographError
from hydrapicker.storage.location import Location
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
from hydrapicker.store.store import Store


@pytest.fixture
def grow(lab, root):
    """Ingest the first ``count`` micrographs of a session, appending from the second time on."""

    def grow(count: int, **changes) -> object:
        micrographs, particles = lab(count=count)
        config = IngestConfig(
            "toy", (micrographs,), particles, 84.0, store=root, workers=2, shard_megabytes=0.005,
            append=Store(root).manifest("toy") is not None,
        )  # fmt: skip
        return ingest(replace(config, **changes))

    return grow


def test_appending_reuses_shards_and_is_read_as_one(grow, root, tmp_path):
    first, second, third = grow(4), grow(8), grow(9)
    assert [report.version for report in (first, second, third)] == ["v0001", "v0002", "v0003"]
    assert [sum(report.micrographs.values()) for report in (first, second, third)] == [4, 8, 9]
    assert set(second.skipped.values()) == {"it is already in the dataset"}
    assert sorted(Path(path).name for path in second.skipped) == [f"mic{n:02d}.mrc" for n in range(4)]
    assert len(third.skipped) == 8
    shards = [f"{n:05d}.shard" for n in range(4)]
    assert Location(root).names("toy/v0001") == (*shards, "index.parquet")
    assert Location(root).names("toy/v0002") == (*shards, "index.parquet")
    assert Location(root).names("toy/v0003") == ("00000.shard", "index.parquet")
    dataset = Store(root).open("toy")
    assert [row.id for row in dataset.rows] == [f"mic{n:02d}.mrc" for n in range(9)]
    whole = str(tmp_path / "whole")
    grow(9, store=whole, append=False)
    expected = Store(whole).open("toy")
    for number in range(9):
        np.testing.assert_array_equal(dataset.read(number).image, expected.read(number).image)
        np.testing.assert_array_equal(dataset.read(number).particles, expected.read(number).particles)


def test_new_micrographs_have_splits_of_their_own(grow, root):
    before = {row.id: row.split for row in (grow(6), Store(root).open("toy"))[1].rows}
    grow(12, val_size=2, test_size=3)
    after = {row.id: row.split for row in Store(root).open("toy").rows}
    assert {name: after[name] for name in before} == before
    new = [split for name, split in after.items() if name not in before]
    assert [new.count(split) for split in ("train", "val", "test")] == [1, 2, 3]


def lies_as_before(root: str) -> bool:
    return {entry.path.split("/")[1] for entry in Location(root).files("toy")} == {"manifest.json", "v0001"}


def test_another_session_with_the_same_names_is_refused(grow, lab, root):
    grow(4)
    other, star = lab(count=4, folder="other", particles=6)
    for changes, difference in (
        ({"micrographs": (other,), "particles": star}, "5 particles there, 6 here"),
        ({"pixel_size_angstrom": 2.1}, "2 Angstrom per pixel there, 2.1 here"),
    ):
        with pytest.raises(MicrographError, match=r"mic00\.mrc: another micrograph of this name is") as c:
            grow(6, **changes)
        assert f"({difference}); rename this one, or" in str(c.value)
        assert "\n" not in str(c.value)
    _, star = lab(count=4)
    moved = Path(star).with_name("moved.star")
    head, lines = Path(star).read_text().splitlines()[:6], Path(star).read_text().splitlines()[6:]
    lines = [f"{line.split()[0]} {n} 20" if "mic02" in line else line for n, line in enumerate(lines)]
    moved.write_text("\n".join([*head, *lines]) + "\n")
    with pytest.raises(MicrographError, match=r"mic02.mrc: another .*\(particles at other places\)"):
        grow(4, particles=str(moved))
    larger, star = lab(count=4, folder="larger", shape=(100, 120))
    with pytest.raises(MicrographError, match=r"mic00.mrc: another .*\(120 x 90 pixels there, 120 x 100 here\)"):
        grow(4, micrographs=(larger,), particles=star)
    assert lies_as_before(root)


def test_the_same_particles_in_another_order_are_the_same(grow, lab, root):
    grow(4)
    _, star = lab(count=4)
    head, lines = Path(star).read_text().splitlines()[:6], Path(star).read_text().splitlines()[6:]
    other = Path(star).with_name("reversed.star")
    other.write_text("\n".join([*head, *reversed(lines)]) + "\n")
    assert grow(4, particles=str(other)).unchanged


def test_particles_of_new_micrographs_alone_are_enough(grow, lab):
    grow(4)
    _, star = lab(count=6)
    lines = [line for line in Path(star).read_text().splitlines() if "mic0" not in line or line[8:10] in ("04", "05")]
    new = Path(star).with_name("new.star")
    new.write_text("\n".join(lines) + "\n")
    report = grow(6, particles=str(new))
    assert sum(report.micrographs.values()) == 6
    assert list(report.skipped.values()) == ["it is already in the dataset"] * 4


def test_a_micrograph_under_another_name_is_refused(grow, lab, root):
    grow(4)
    micrographs, star = lab(count=4)
    copy = Path(micrographs).parent / "copy.mrc"
    copy.write_bytes((copy.parent / "mic01.mrc").read_bytes())
    with_copy = Path(star).with_name("with_copy.star")
    with_copy.write_text(Path(star).read_text() + "mics/copy.mrc 20 30\n")
    with pytest.raises(
        InvalidInputError,
        match=r"^copy.mrc: its pixels are those of mic01.mrc, which the dataset has already; leave it out$",
    ):
        grow(4, particles=str(with_copy))
    assert lies_as_before(root)


def test_the_folder_above_is_refused(grow, lab, root):
    """There names repeat, so that ids have folders in them, and each micrograph seems to be a new one."""
    grow(4)
    micrographs, _ = lab(count=4)
    one = Path(micrographs).parents[1]
    two = one / "two" / "mic00.mrc"
    two.parent.mkdir()
    random = np.random.default_rng(99)
    with mrcfile.new(two, random.normal(size=(90, 120)).astype(np.float32)) as file:
        file.voxel_size = 2.0
    star = one / "both.star"
    star.write_text(Path(lab(count=4)[1]).read_text() + "two/mic00.mrc 20 30\n")
    with pytest.raises(
        InvalidInputError,
        match=r"^mics/mic00.mrc: its pixels are those of mic00.mrc, .* \(and so it is with 3 more\); leave it out$",
    ):
        grow(4, micrographs=(str(one / "**" / "*.mrc"),), particles=str(star))
    assert lies_as_before(root)


def test_of_new_micrographs_two_may_not_be_the_same(grow, lab, root):
    grow(4)
    micrographs, star = lab(count=5)
    copy = Path(micrographs).parent / "mic04-copy.mrc"
    copy.write_bytes((copy.parent / "mic04.mrc").read_bytes())
    with_copy = Path(star).with_name("with_copy.star")
    with_copy.write_text(Path(star).read_text() + "mics/mic04-copy.mrc 20 30\n")
    with pytest.raises(InvalidInputError, match="its pixels are those of mic04"):
        grow(5, particles=str(with_copy))
    assert lies_as_before(root)


def test_nothing_usable_to_append_makes_no_version(grow, lab, root):
    first = grow(4)
    micrographs, star = lab(count=5)
    path = Path(micrographs).parent / "mic04.mrc"
    path.write_bytes(path.read_bytes()[:1024] + np.full((90, 120), 7, np.float32).tobytes())
    report = ingest(
        IngestConfig(
            "toy", (micrographs,), star, 84.0, store=root, workers=2, shard_megabytes=0.005, append=True,
            skip_unusable=True,
        )
    )  # fmt: skip
    assert (report.unchanged, report.fingerprint) == (True, first.fingerprint)
    assert report.skipped[str(path)] == "every pixel is 7"
    assert lies_as_before(root)


@pytest.mark.parametrize("new", [1, 2])
def test_too_few_for_splits_are_all_for_training(grow, new):
    first, second = grow(3), grow(3 + new)
    assert second.micrographs == {**first.micrographs, "train": first.micrographs["train"] + new}


def test_nothing_new_makes_no_version(grow, root):
    first, again = grow(4), grow(4)
    assert (again.unchanged, again.version, again.fingerprint) == (True, "v0001", first.fingerprint)
    assert again.micrographs == first.micrographs
    assert len(again.skipped) == 4
    assert {entry.path.split("/")[1] for entry in Location(root).files("toy")} == {"manifest.json", "v0001"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contrast": "light"}, "contrast is dark there and light here"),
        ({"box_px": 19}, "box_px is 21 there and 19 here"),
        ({"diameter_angstrom": 90.0, "box_px": 19}, "box_px is 21 there and 19 here, diameter_angstrom is 84.0 there"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(grow, root, change, message):
    grow(4)
    with pytest.raises(InvalidInputError, match=f"cannot append to toy v0001: .*{message}.* without --append"):
        grow(6, **change)
    assert {entry.path.split("/")[1] for entry in Location(root).files("toy")} == {"manifest.json", "v0001"}


def test_there_must_be_something_to_append_to(grow, root):
    with pytest.raises(DatasetNotFoundError, match="no dataset toy"):
        grow(4, append=True)
    assert Location(root).files() == ()
