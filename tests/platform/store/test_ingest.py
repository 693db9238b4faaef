import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from hydrapicker.errors import InvalidInputError, MicrographError, ParticlesError, StoreError
from hydrapicker.storage.location import Location
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
from hydrapicker.store.store import Store
from hydrapicker.store.survey import micrograph_ids
from hydrapicker_core.preprocess import prepare

DIAMETER = 84.0  # at 2 Angstrom per pixel 42 pixels, so the working scale is one half


@pytest.fixture
def config(lab, root):
    micrographs, particles = lab()
    return IngestConfig("toy", (micrographs,), particles, DIAMETER, store=root, workers=2, shard_megabytes=0.005)


def files_of(root: str) -> dict[str, bytes]:
    location = Location(root)
    return {name: location.read(f"toy/v0001/{name}") for name in location.names("toy/v0001")}


def test_what_goes_in_comes_out(config, root, lab):
    # 121 x 91 pixels halved are 60 x 46: the scales along x and y differ.
    micrographs, particles = lab(folder="odd", shape=(91, 121))
    config = replace(config, micrographs=(micrographs,), particles=particles)
    calls = []
    report = ingest(config, lambda *call: calls.append(call))
    assert (report.name, report.version, report.unchanged) == ("toy", "v0001", False)
    assert report.micrographs == {"train": 4, "val": 1, "test": 1}
    assert report.particles == {"train": 20, "val": 5, "test": 5}
    assert calls[0] == (0, 6, "ingesting toy")
    assert calls[-1] == (6, 6, "ingesting toy")
    dataset = Store(root).open("toy")
    assert dataset.fingerprint == report.fingerprint
    assert [row.id for row in dataset.rows] == [f"mic{n:02d}.mrc" for n in range(6)]
    assert len({row.shard for row in dataset.rows}) == 6
    star = np.loadtxt(Path(config.particles).read_text().splitlines()[6:], usecols=(1, 2)).reshape(6, 5, 2)
    for number in range(6):
        read = dataset.read(number)
        original = mrcfile.read(Path(config.micrographs[0]).parent / read.id)
        expected = prepare(torch.from_numpy(original.copy()), 0.5)
        np.testing.assert_array_equal(read.image, expected.image.half().float().numpy())
        np.testing.assert_allclose(read.particles / [read.scale_x, read.scale_y], star[number], atol=1e-3)
        assert (read.scale_x, read.scale_y) == (60 / 121, 46 / 91)
        assert (dataset.rows[number].scale, read.original_width, read.original_height) == (0.5, 121, 91)
        assert read.background_std == pytest.approx(expected.background.std)
        assert read.pixel_size_angstrom == 2.0
    assert set(files_of(root)) == {"index.parquet", *(f"{n:05d}.shard" for n in range(6))}


def test_light_particles_are_stored_dark(config, root):
    ingest(config)
    ingest(replace(config, contrast="light"))
    dark, light = Store(root).open("toy", "v0001"), Store(root).open("toy", "v0002")
    assert light.contrast == "light"
    np.testing.assert_allclose(light.read(0).image, -dark.read(0).image, atol=1e-2)


def test_the_number_of_workers_changes_nothing(config, lab, tmp_path):
    for workers in (1, 2):
        ingest(replace(config, store=str(tmp_path / f"store{workers}"), workers=workers))
    assert files_of(str(tmp_path / "store1")) == files_of(str(tmp_path / "store2"))


def test_the_same_input_again_makes_no_version(config, root):
    first = ingest(config)
    again = ingest(config)
    assert again.unchanged
    assert (again.version, again.fingerprint) == ("v0001", first.fingerprint)
    assert again.micrographs == first.micrographs
    assert list(Store(root).manifest("toy").versions) == ["v0001"]
    changed = ingest(replace(config, split_seed=3))
    assert (changed.version, changed.unchanged) == ("v0002", False)


def test_the_same_input_again_repairs(config, root):
    ingest(config)
    before = files_of(root)
    Location(root).write("toy/v0001/00003.shard", b"rubbish")
    with pytest.raises(StoreError, match="datasets repair toy --from FOLDER"):
        Store(root).open("toy").read(3)
    assert ingest(config).repaired == ("00003.shard",)
    assert files_of(root) == before


def test_micrographs_without_particles(lab, root):
    micrographs, particles = lab(count=7, empty=2)
    config = IngestConfig("toy", (micrographs,), particles, DIAMETER, store=root, workers=2)
    report = ingest(config)
    assert [Path(path).name for path in report.skipped] == ["mic00.mrc", "mic01.mrc"]
    assert sum(report.micrographs.values()) == 5
    report = ingest(replace(config, keep_empty=True))
    assert report.skipped == {}
    dataset = Store(root).open("toy")
    assert len(dataset) == 7
    assert dataset.read(0).particles.shape == (0, 2)


def test_a_full_disk_is_one_line_and_the_same_command_continues(lab, tmp_path):
    micrographs, particles = lab()
    store = str(tmp_path / "store")
    script = (
        "import sys\nfrom hydrapicker.errors import StoreError\nfrom hydrapicker.store.config import IngestConfig\n"
        "from hydrapicker.store.ingest import ingest\n"
        "try:\n    ingest(IngestConfig('toy', (sys.argv[1],), sys.argv[2], 84.0, store=sys.argv[3]))\n"
        "except StoreError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, micrographs, particles, store],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
    )
    assert done.stdout.startswith("cannot write ")
    assert done.stdout.count("\n") == 1
    assert Store(store).names() == ()
    assert ingest(IngestConfig("toy", (micrographs,), particles, DIAMETER, store=store)).version == "v0001"


def rewrite(config: IngestConfig, number: int, image: np.ndarray | None = None, voxel_size: float = 2.0) -> Path:
    path = Path(config.micrographs[0]).parent / f"mic{number:02d}.mrc"
    image = mrcfile.read(path) if image is None else image
    with mrcfile.new(path, np.zeros_like(image), overwrite=True) as file:
        file.voxel_size = voxel_size
    path.write_bytes(path.read_bytes()[:1024] + image.tobytes())  # mrcfile warns of NaN
    return path


CONSTANT = np.full((90, 120), 7, np.float32)


def test_all_unusable_micrographs_are_named_and_left_out_on_request(config, root):
    nan = np.full((90, 120), 0.5, np.float32)
    nan[0] = np.nan
    paths = [rewrite(config, 1, CONSTANT), rewrite(config, 4, nan)]
    calls = []
    with pytest.raises(MicrographError) as caught:
        ingest(config, lambda *call: calls.append(call[:2]))
    assert str(caught.value) == (
        f"2 of 6 micrographs cannot be used ({paths[0]}: every pixel is 7; {paths[1]}: 120 of 10800 pixels are NaN or "
        "infinite); mend them, or give --skip-unusable with the same command, which leaves them out and keeps what is "
        "done"
    )
    assert calls[-1] == (6, 6), "all were looked at"
    assert Store(root).names() == ()
    report = ingest(replace(config, skip_unusable=True))
    assert (report.version, report.continued_from) == ("v0001", 4)
    assert report.skipped == {
        str(paths[0]): "every pixel is 7",
        str(paths[1]): "120 of 10800 pixels are NaN or infinite",
    }
    dataset = Store(root).open("toy")
    assert [row.id for row in dataset.rows] == [f"mic{n:02d}.mrc" for n in (0, 2, 3, 5)]
    assert all(dataset.read(number).image.shape == (45, 60) for number in range(4))
    again = ingest(replace(config, skip_unusable=True))
    assert (again.unchanged, again.skipped) == (True, report.skipped)


def test_a_continued_ingest_knows_what_was_left_out(config, root):
    path = rewrite(config, 1, CONSTANT)
    config = replace(config, skip_unusable=True, workers=1)

    class Killed(BaseException):
        pass

    def kill(done, total, label):
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        ingest(config, kill)
    with pytest.raises(MicrographError, match="1 of 6 micrographs cannot be used"):
        ingest(replace(config, skip_unusable=False))
    report = ingest(config)
    assert report.continued_from == 5, "four before the end, and the last one by the run that refused"
    assert report.skipped == {str(path): "every pixel is 7"}
    assert len(Store(root).open("toy")) == 5


def test_of_very_many_unusable_ones_the_first_are_named(lab, tmp_path):
    micrographs, particles = lab(count=30, shape=(50, 60))
    config = IngestConfig("toy", (micrographs,), particles, DIAMETER, store=str(tmp_path / "store"), workers=2)
    for number in range(3, 26):
        rewrite(config, number, np.zeros((50, 60), np.float32))
    with pytest.raises(MicrographError, match=r"^23 of 30 micrographs") as caught:
        ingest(config)
    assert str(caught.value).count("every pixel is 0") == 20
    assert "; and 3 more); mend them" in str(caught.value)


def test_what_is_left_must_have_all_splits(config, root):
    ingest(replace(config, store=root, name="names"))
    (held_out,) = (row.id for row in Store(root).open("names").rows if row.split == "val")
    rewrite(config, int(held_out[3:5]), CONSTANT)
    with pytest.raises(InvalidInputError, match="without the 1 unusable micrographs none is left for val; give more"):
        ingest(replace(config, skip_unusable=True))
    assert Location(root).files("toy") == ()


def test_a_split_that_was_not_asked_for_need_not_be_there(config, root):
    rewrite(config, 4, CONSTANT)
    report = ingest(replace(config, val_size=0, test_size=0, skip_unusable=True))
    assert report.micrographs["train"] > 0
    assert report.micrographs["val"] == report.micrographs["test"] == 0
    assert [len(Store(root).open("toy").split(split)) for split in ("val", "test")] == [0, 0]


def test_bad_pixels_leave_the_version_there_is(config, root):
    first = ingest(config)
    rewrite(config, 4, CONSTANT)
    with pytest.raises(MicrographError):
        ingest(config)
    assert Store(root).open("toy").fingerprint == first.fingerprint
    assert list(Store(root).manifest("toy").versions) == ["v0001"]


def test_truncated_micrographs(config, root):
    paths = [Path(config.micrographs[0]).parent / f"mic0{number}.mrc" for number in (1, 3)]
    for path in paths:
        path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(MicrographError, match=rf"^2 of 6 .*{paths[0]}: truncated.*; {paths[1]}: truncated.*--skip-un"):
        ingest(config)
    assert Location(root).files() == ()
    report = ingest(replace(config, skip_unusable=True))
    assert list(report.skipped) == [str(path) for path in paths]
    assert all(reason.startswith("truncated") for reason in report.skipped.values())
    assert sum(report.particles.values()) == 20
    assert report.dropped_outside == 0


def test_what_is_checked_before_anything_is_written(config, root, tmp_path):
    path = rewrite(config, 0, voxel_size=0)
    with pytest.raises(MicrographError, match=f"^{path}: its header has no pixel size; give --pixel-size-angstrom"):
        ingest(config)
    with pytest.raises(MicrographError, match="larger than the image of 120 x 90 pixels"):
        ingest(replace(config, pixel_size_angstrom=2.0, diameter_angstrom=200))
    with pytest.raises(InvalidInputError, match="at least 5 are needed"):
        ingest(replace(config, pixel_size_angstrom=2.0, diameter_angstrom=9))
    with pytest.raises(InvalidInputError, match="leave none to train on"):
        ingest(replace(config, pixel_size_angstrom=2.0, test_size=5))
    with pytest.raises(InvalidInputError, match="nowhere"):
        ingest(replace(config, micrographs=(str(tmp_path / "nowhere" / "*.mrc"),)))
    with pytest.raises(InvalidInputError, match="nothing"):
        ingest(replace(config, particles=str(tmp_path / "nothing.star")))
    assert Location(root).files() == ()


def test_particles_of_missing_micrographs_and_outside(config, root):
    star = Path(config.particles)
    good = star.read_text()
    star.write_text(good + "mics/elsewhere.mrc 10 10\n")
    with pytest.raises(ParticlesError, match=r"elsewhere\.mrc"):
        ingest(config)
    star.write_text(good + "mics/mic01.mrc 500 10\n")
    with pytest.raises(ParticlesError, match=r"outside"):
        ingest(config)
    assert Location(root).files() == ()
    many = "".join(f"mics/mic02.mrc {10 + n / 10} 20\n" for n in range(200))
    star.write_text(good + many + "mics/mic01.mrc 500 10\n")
    report = ingest(config)
    assert report.dropped_outside == 1
    assert sum(report.particles.values()) == 230


def test_a_pixel_size_given_wins_over_the_header(config, root):
    ingest(replace(config, pixel_size_angstrom=1.0, diameter_angstrom=42))
    read = Store(root).open("toy").read(0)
    assert (read.pixel_size_angstrom, read.scale_x) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "a/b"}, "not allowed"),
        ({"name": ".."}, "not allowed"),
        ({"name": "generic"}, "name is generic, as the head of all datasets is called; give the dataset another name"),
        ({"micrographs": "mics/*.mrc"}, "give a list"),
        ({"micrographs": ()}, "give a list"),
        ({"diameter_angstrom": 0}, "diameter_angstrom is 0"),
        ({"diameter_angstrom": float("nan")}, "diameter_angstrom is nan"),
        ({"pixel_size_angstrom": -1.0}, "pixel_size_angstrom is -1"),
        ({"shard_megabytes": 0}, "shard_megabytes is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"box_px": 0}, "box_px is 0"),
        ({"parallel": "mpi"}, "parallel is 'mpi'; give 'auto', 'threads' or 'ray'"),
        ({"contrast": "bright"}, "contrast is 'bright'; give 'dark' or 'light'"),
        ({"test_size": -1}, "a split of -1"),
    ],
)
def test_config_is_validated_when_built(change, message):
    given = {"name": "toy", "micrographs": ("m/*.mrc",), "particles": "p.star", "diameter_angstrom": 100.0}
    with pytest.raises(InvalidInputError, match=message):
        IngestConfig(**{**given, **change})


def test_ids_are_file_names_or_paths_where_names_repeat():
    paths = [Path("/data/a/m1.mrc"), Path("/data/a/m2.mrc")]
    assert list(micrograph_ids(paths).values()) == ["m1.mrc", "m2.mrc"]
    paths = [Path("/data/a/m1.mrc"), Path("/data/b/m1.mrc"), Path("/data/b/m2.mrc")]
    assert list(micrograph_ids(paths).values()) == ["a/m1.mrc", "b/m1.mrc", "b/m2.mrc"]


def test_real_micrographs(tmp_path):
    shared = Path(os.environ.get("HYDRAPICKER_SHARED", Path(__file__).parents[4] / "shared"))
    data = shared / "data" / "empiar-10146"
    if not data.exists():
        pytest.skip(f"no {data}: set HYDRAPICKER_SHARED")
    config = IngestConfig(
        "EMPIAR-10146", (str(data / "micrographs"),), str(data / "particles.star"), 120, store=str(tmp_path)
    )
    report = ingest(config)
    assert report.micrographs == {"train": 15, "val": 2, "test": 2}
    assert sum(report.particles.values()) + report.dropped_outside == 3112
    dataset = Store(str(tmp_path)).open("EMPIAR-10146")
    # Apoferritin is a dark shell around a light core: seen so in the mean of all particles, it is at its place.
    patches = []
    for number in range(len(dataset)):
        read = dataset.read(number)
        for x, y in read.particles.round().astype(int):
            patch = read.image[max(0, y - 15) : y + 16, max(0, x - 15) : x + 16]
            if patch.shape == (31, 31):
                patches.append(patch)
    mean = np.mean(patches, axis=0)
    radius = np.hypot(*np.mgrid[-15:16, -15:16]).round()
    shell = mean[(radius >= 7) & (radius <= 8)].mean()
    assert shell < mean[radius <= 3].mean() - 0.5
    assert shell < mean[(radius >= 11) & (radius <= 13)].mean() - 0.5
