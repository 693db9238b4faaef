"""``hydrapicker datasets``: verify, repair and clean as users meet them."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

STORE = Path("hydrapicker-data/datasets")


@pytest.fixture
def toy(lab: Path, ingest: Callable) -> Path:
    """A dataset of three micrographs; its folder."""
    assert ingest().code == 0
    return lab / STORE / "toy"


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_a_bad_manifest_hides_no_other_dataset(toy: Path, ingest: Callable, hydrapicker: Callable) -> None:
    assert ingest(name="other").code == 0
    manifest = json.loads((toy / "manifest.json").read_text())
    (toy / "manifest.json").write_text(json.dumps({**manifest, "current": "v0009"}))
    listed = hydrapicker("datasets")
    assert "current is 'v0009', which is none of its versions" in listed.refusal()
    assert [line.split()[0] for line in listed.out.splitlines()] == ["name", "other"]
    listed = hydrapicker("datasets", "--json")
    assert [entry["name"] for entry in json.loads(listed.out)] == ["other"]
    assert "toy/manifest.json" in listed.refusal()
    (toy.parent / "other/manifest.json").unlink()
    alone = hydrapicker("datasets")
    assert alone.out == ""
    assert "toy/manifest.json" in alone.refusal()
    (toy / "manifest.json").unlink()
    assert "no datasets in ./hydrapicker-data/datasets" in hydrapicker("datasets").out


def test_verify_an_intact_dataset(toy: Path, hydrapicker: Callable) -> None:
    done = hydrapicker("datasets", "verify", "toy")
    assert done.code == 0
    assert done.out.startswith("toy v0001: 3 micrographs in 1 shards, 0.")
    assert done.out.endswith(" MB read, all intact\n")
    assert "verify 3/3 verifying toy v0001" in done.err


def test_verify_names_what_is_damaged_and_repair_mends_it(toy: Path, lab: Path, hydrapicker: Callable) -> None:
    shard = toy / "v0001/00000.shard"
    good = shard.read_bytes()
    flip(shard, 0)
    flip(shard, -1)
    found = hydrapicker("datasets", "verify", "toy", "--version", "v0001")
    assert found.code == 1
    assert found.out.splitlines()[:2] == [
        f"toy v0001, shard 00000.shard, micrograph {name}.mrc: the checksum does not match" for name in "ac"
    ]
    assert found.out.splitlines()[2].endswith("2 damaged")
    report = json.loads(hydrapicker("datasets", "verify", "toy", "--json").out)
    assert [damage["micrograph"] for damage in report["damages"]] == ["a.mrc", "c.mrc"]
    (lab / "mics/c.mrc").rename(lab / "c.mrc")
    left = hydrapicker("datasets", "repair", "toy", "--from", "mics")
    assert left.code == 1
    assert left.out.splitlines() == [
        "toy v0001, shard 00000.shard, micrograph c.mrc is left as it is: "
        "no file of this name in the folder given; give the one that has it"
    ]
    mended = hydrapicker("datasets", "repair", "toy", "--from", lab)
    assert mended.code == 0
    assert mended.out.splitlines() == ["written anew: toy/v0001/00000.shard", "made again: a.mrc", "made again: c.mrc"]
    assert shard.read_bytes() == good
    again = hydrapicker("datasets", "repair", "toy", "--from", "mics")
    assert (again.code, again.out) == (0, "toy v0001 is intact, there was nothing to repair\n")


def test_what_cannot_be_repaired_is_one_line(toy: Path, hydrapicker: Callable) -> None:
    assert "nowhere: no such folder" in hydrapicker("datasets", "repair", "toy", "--from", "nowhere").refusal()
    assert "did you mean toy" in hydrapicker("datasets", "verify", "tay").refusal()
    flip(toy / "v0001/index.parquet", 200)
    line = hydrapicker("datasets", "repair", "toy", "--from", "mics").refusal()
    assert "run the same hydrapicker ingest again" in line
    found = hydrapicker("datasets", "verify", "toy")
    assert found.code == 1
    assert found.out.startswith("toy v0001, index.parquet: damaged, its sha256 is not the manifest's\n")


def test_clean_removes_what_is_old_and_says_so(toy: Path, hydrapicker: Callable) -> None:
    draft = toy / "v0002"
    (draft / "journal").mkdir(parents=True)
    (draft / "00000.shard").write_bytes(bytes(1_500_000))
    (draft / "journal/draft.json").write_text("{}")
    assert hydrapicker("datasets", "--clean").out == f"nothing left over for 24 hours or more in ./{STORE}\n"
    then = time.time() - 25 * 3600
    for path in (draft / "00000.shard", draft / "journal/draft.json"):
        os.utime(path, (then, then))
    assert "nothing left over" in hydrapicker("datasets", "--clean", "--older-than-hours", "26").out
    said = f"draft toy/v0002, 1.5 MB, last changed {time.strftime('%Y-%m-%d %H:%M', time.gmtime(then))} UTC\n"
    assert hydrapicker("datasets", "--clean", "--dry-run").out == f"would remove {said}"
    assert draft.exists()
    assert hydrapicker("datasets", "toy", "--clean").out == f"removed {said}"
    assert not draft.exists()
    assert hydrapicker("datasets", "verify", "toy").code == 0


def test_options_that_do_not_go_together(lab: Path, hydrapicker: Callable) -> None:
    assert "give both" in hydrapicker("datasets", "--dry-run").refusal()
    assert "leave them out" in hydrapicker("datasets", "--clean", "--json").refusal()


def test_help_tells_of_all_of_it(lab: Path, hydrapicker: Callable) -> None:
    assert "datasets verify NAME" in hydrapicker("datasets", "--help").out
    assert "--from" in hydrapicker("datasets", "repair", "--help").out
    assert "Exit code 1" in hydrapicker("datasets", "verify", "--help").out
