import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import numpy as np
import pytest

from hydrapicker.errors import InvalidInputError, StoreError
from hydrapicker.storage.location import Location
from hydrapicker.store.clean import Leftover, leftovers, remove
from hydrapicker.store.draft import Draft
from hydrapicker.store.store import Store


@pytest.fixture
def store(root: str) -> Store:
    return Store(root)


@pytest.fixture
def draft(root, make_rows, write_shards, meta) -> Draft:
    """Two shards of an ingest that ended there."""
    draft = Draft(Location(root), meta("toy"), "one")
    write_shards(draft, *make_rows(4))
    return draft


def kinds(found: tuple[Leftover, ...]) -> list[tuple[str, str]]:
    return [(leftover.kind, leftover.path) for leftover in found]


def readable(root: str, images: list[np.ndarray], version: str | None = None) -> bool:
    dataset = Store(root).open("toy", version)
    return all(np.array_equal(dataset.read(n).image, image.astype(np.float32)) for n, image in enumerate(images))


def test_nothing_is_left_over_of_what_ended_well(root, store, write_dataset):
    assert leftovers(store, older_than_hours=0) == ()
    write_dataset(root)
    write_dataset(root, seed=1)
    assert leftovers(store, older_than_hours=0) == ()
    assert leftovers(store, "toy", older_than_hours=0) == ()
    assert leftovers(store, "other", older_than_hours=0) == ()


def test_a_young_draft_is_let_live(root, store, draft, make_rows, write_shards):
    assert leftovers(store, older_than_hours=24) == ()
    write_shards(draft, *make_rows(2, seed=5, name="n"))
    draft.commit()
    assert len(store.open("toy")) == 6


def test_an_old_draft_goes_whole(root, store, draft):
    sizes = [file.bytes for file in store.location.files("toy")]
    (found,) = leftovers(store, older_than_hours=0)
    assert (found.kind, found.path, found.bytes) == ("draft", "toy/v0001", sum(sizes))
    assert datetime.now(UTC) - timedelta(minutes=1) < found.modified < datetime.now(UTC)
    assert remove(store, [found]) == (found,)
    assert store.location.files() == ()
    if store.location.local_folder:
        assert store.location.names() == ()  # no empty folders either
    with pytest.raises(StoreError):
        draft.commit()
    assert store.names() == ()


def test_a_version_stays_as_it_is_beside_a_draft(root, store, write_dataset, make_rows, write_shards, meta):
    _, images = write_dataset(root)
    before = store.location.files("toy")
    draft = Draft(store.location, meta("toy"), "next")
    write_shards(draft, *make_rows(4, seed=3))
    location = store.location
    for path in ("toy/.manifest.json.0a.tmp", "toy/v0001/.00003.shard.0a.tmp", "toy/v0001/journal/00000.parquet"):
        location.write(path, b"half")
    location.write("toy/notes/.mine.tmp", b"not ours")
    location.write("toy/notes/journal/mine.txt", b"not ours")
    location.write("toy/v0001/notes.txt", b"not ours")
    location.write("elsewhere/v0001/00000.shard", b"no journal, so not ours")
    location.write("elsewhere/figures/.x.tmp", b"not ours")
    found = leftovers(store, older_than_hours=0)
    assert kinds(found) == [
        ("file", "toy/.manifest.json.0a.tmp"),
        ("file", "toy/v0001/.00003.shard.0a.tmp"),
        ("journal", "toy/v0001/journal"),
        ("draft", "toy/v0002"),
    ]
    assert remove(store, found) == found
    kept = {file.path for file in before} | {"toy/notes/.mine.tmp", "toy/notes/journal/mine.txt", "toy/v0001/notes.txt"}
    assert {file.path for file in location.files("toy")} == kept
    assert len(location.files("elsewhere")) == 2
    assert readable(root, images)


def test_files_that_are_not_ours_are_in_nobodys_way(root, store, draft):
    for name in ("notes.txt", "my notes.txt", "papers/a.pdf"):
        store.location.write(name, b"mine")
    (found,) = leftovers(store, older_than_hours=0)
    assert remove(store, [found]) == (found,)
    assert [file.path for file in store.location.files()] == ["my notes.txt", "notes.txt", "papers/a.pdf"]


def test_only_the_dataset_asked_for(root, store, draft, make_rows, write_shards, meta):
    write_shards(Draft(Location(root), meta("other"), "one"), *make_rows(2))
    assert kinds(leftovers(store, "other", older_than_hours=0)) == [("draft", "other/v0001")]
    assert len(leftovers(store, older_than_hours=0)) == 2


def test_what_an_ingest_took_up_again_is_let_live(root, store, draft, make_rows, write_shards, meta):
    found = leftovers(store, older_than_hours=0)
    if root.startswith("s3"):
        time.sleep(1.1)  # S3 tells dates in whole seconds
    again = Draft(Location(root), meta("toy"), "one")
    assert len(again.rows) == 4
    assert remove(store, found) == ()
    again.commit()
    assert remove(store, found) == ()
    assert readable(root, make_rows(4)[1])


def test_an_ingest_may_take_a_draft_up_in_the_midst_of_a_clean(
    root, store, draft, make_rows, write_shards, meta, monkeypatch
):
    """Of the two, one finds out that it was second; here the clean does."""
    found = leftovers(store, older_than_hours=0)
    manifest, again = Store.manifest, []

    def take_up(self: Store, name: str) -> object:
        if not again:
            again.append(Draft(Location(root), meta("toy"), "one"))
        return manifest(self, name)

    monkeypatch.setattr(Store, "manifest", take_up)
    assert remove(store, found) == ()
    again[0].commit()
    assert readable(root, make_rows(4)[1])


def test_an_ingest_that_begins_after_the_clean_starts_anew(root, store, draft, make_rows, write_shards, meta):
    remove(store, leftovers(store, older_than_hours=0))
    again = Draft(Location(root), meta("toy"), "one")
    assert (again.version, again.rows) == ("v0001", ())
    write_shards(again, *make_rows(4))
    again.commit()
    assert readable(root, make_rows(4)[1])


def test_a_clean_that_is_broken_off_can_be_done_again(root, store, draft, monkeypatch):
    found = leftovers(store, older_than_hours=0)
    removing = Location.remove

    def broken_off(self: Location, path: str) -> None:
        if path.endswith("00001.shard"):
            raise KeyboardInterrupt
        removing(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(Location, "remove", broken_off)
        with pytest.raises(KeyboardInterrupt):
            remove(store, found)
    assert store.location.exists("toy/v0001/00001.shard")
    remove(store, leftovers(store, older_than_hours=0))
    assert store.location.files() == ()


def test_the_age_is_that_of_the_newest_file(tmp_path: Path, make_rows, write_shards, meta):
    store = Store(str(tmp_path))
    write_shards(Draft(store.location, meta("toy"), "one"), *make_rows(4))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for path in files:
        age(path, hours=30)
    assert kinds(leftovers(store, older_than_hours=24)) == [("draft", "toy/v0001")]
    assert leftovers(store, older_than_hours=31) == ()
    age(tmp_path / "toy/v0001/00001.shard", hours=23)
    assert leftovers(store, older_than_hours=24) == ()


def age(path: Path, hours: float) -> None:
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))


@pytest.mark.parametrize("hours", [-1, float("nan"), float("inf")])
def test_impossible_ages_are_refused(tmp_path, hours):
    with pytest.raises(InvalidInputError, match="older_than_hours is"):
        leftovers(Store(str(tmp_path)), older_than_hours=hours)


def test_a_damaged_manifest_stops_it(root, store, draft):
    store.location.write("toy/manifest.json", b"{")
    with pytest.raises(StoreError, match=r"manifest.json: not a dataset's manifest"):
        leftovers(store, older_than_hours=0)


def test_unfinished_uploads(bucket, write_dataset):
    store = Store(f"s3://{bucket}/sets")
    _, images = write_dataset(store.location.root)
    client = boto3.client("s3")
    keys = ("sets/toy/v0002/00000.shard", "sets/toy/manifest.json", "sets/toy/notes/big", "elsewhere/toy/v0002/x")
    for key in keys:
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"part")
    assert leftovers(store, older_than_hours=24) == ()
    found = leftovers(store, older_than_hours=0)
    assert kinds(found) == [("upload", "toy/manifest.json"), ("upload", "toy/v0002/00000.shard")]
    remove(store, found)
    left = [upload["Key"] for upload in client.list_multipart_uploads(Bucket=bucket)["Uploads"]]
    assert sorted(left) == ["elsewhere/toy/v0002/x", "sets/toy/notes/big"]
    assert readable(store.location.root, images)
