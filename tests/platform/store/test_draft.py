"""What holds for a version being written, over every kind of root: it is there whole or not at all, and never mixed."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from hydrapicker.errors import StoreAccessError, StoreChangedError, StoreError
from hydrapicker.storage.location import FileEntry, Location, Upload
from hydrapicker.store.clean import leftovers, remove
from hydrapicker.store.draft import Draft
from hydrapicker.store.store import Store


class Interrupted(Location):
    """A real location where something happens once, just after the manifest is read or just before it is replaced."""

    happens_after_reading: Callable[[], object] | None = None
    happens_before_writing: Callable[[], object] | None = None

    def read_tagged(self, path: str) -> tuple[bytes, str] | None:
        found = super().read_tagged(path)
        if path.endswith("manifest.json") and self.happens_after_reading is not None:
            happens, self.happens_after_reading = self.happens_after_reading, None
            happens()
        return found

    def write_if_unchanged(self, path: str, content: bytes, tag: str | None) -> None:
        if path.endswith("manifest.json") and self.happens_before_writing is not None:
            happens, self.happens_before_writing = self.happens_before_writing, None
            happens()
        super().write_if_unchanged(path, content, tag)


@pytest.fixture
def filled(root, make_rows, write_shards, meta) -> Callable[..., Draft]:
    """A draft with two shards, of its own content for every seed; a second call joins the first."""

    def fill(identity: str = "one", seed: int = 0, at: Location | None = None) -> Draft:
        rows, images = make_rows(4, seed)
        draft = Draft(at or Location(root), meta("toy"), identity)
        there = len(draft.rows)
        write_shards(draft, rows[there:], images[there:])
        return draft

    return fill


def images_of(root: str, version: str | None = None) -> list[np.ndarray]:
    dataset = Store(root).open("toy", version)
    return [dataset.read(number).image for number in range(len(dataset))]


def folders_of(root: str) -> set[str]:
    """What lies directly in the dataset's folder; locks of a local store do not count."""
    parts = {entry.path.split("/")[1] for entry in Location(root).files("toy")}
    return {part for part in parts if not part.startswith(".")}


def is_version_of(root: str, version: str, images: list[np.ndarray]) -> bool:
    return all(map(np.array_equal, images_of(root, version), (image.astype(np.float32) for image in images)))


def test_it_is_no_version_until_it_is_committed(root, filled):
    draft = filled()
    assert Store(root).names() == ()
    assert draft.commit()[0] == "v0001"
    assert Store(root).names() == ("toy",)
    assert Location(root).names("toy/v0001") == ("00000.shard", "00001.shard", "index.parquet")
    entry = Store(root).manifest("toy").versions["v0001"]
    index = Location(root).read("toy/v0001/index.parquet")
    assert entry.index_bytes == len(index)
    assert index[-8:-4] == (entry.footer_bytes - 8).to_bytes(4, "little")


def test_the_same_content_makes_no_version(root, filled):
    results = [filled(identity).commit() for identity in ("one", "other")]
    assert [unchanged for _, _, unchanged, _ in results] == [False, True]
    assert folders_of(root) == {"manifest.json", "v0001"}
    assert list(Store(root).manifest("toy").versions) == ["v0001"]


def test_one_of_the_same_input_continues(root, make_rows, write_shards, meta):
    rows, images = make_rows(6)
    write_shards(Draft(Location(root), meta("toy"), "same"), rows[:4], images[:4])
    draft = Draft(Location(root), meta("toy"), "same")
    assert [row.id for row in draft.rows] == [row.id for row in rows[:4]]
    write_shards(draft, rows[4:], images[4:])
    draft.commit()
    assert is_version_of(root, "v0001", images)


def test_a_shard_that_is_not_whole_is_written_again(root, make_rows, write_shards, meta):
    rows, images = make_rows(6)
    write_shards(Draft(Location(root), meta("toy"), "same"), rows, images)
    Location(root).write("toy/v0001/00001.shard", b"short")
    draft = Draft(Location(root), meta("toy"), "same")
    assert set(draft.finished) == {0, 2}
    write_shards(draft, rows[2:4], images[2:4])
    draft.commit()
    assert is_version_of(root, "v0001", images)


def test_a_note_that_is_not_as_it_was_written_counts_for_nothing(root, make_rows, write_shards, meta):
    rows, images = make_rows(6)
    write_shards(Draft(Location(root), meta("toy"), "same"), rows, images)
    path, random = "toy/v0001/journal/00001.note", np.random.default_rng(0)
    good = Location(root).read(path)
    flipped = []
    for bit in random.integers(8 * len(good), size=10 if root.startswith("s3") else 200):
        changed = bytearray(good)
        changed[bit // 8] ^= 1 << bit % 8
        flipped.append(bytes(changed))
    for bad in (*flipped, good[:-1], good[:64], b""):
        Location(root).write(path, bad)
        assert set(Draft(Location(root), meta("toy"), "same").finished) == {0, 2}
    draft = Draft(Location(root), meta("toy"), "same")
    write_shards(draft, rows[2:4], images[2:4])
    draft.commit()
    assert is_version_of(root, "v0001", images)


def test_what_was_left_out_is_noted(root, make_rows, write_shards, meta):
    rows, images = make_rows(2)
    draft = Draft(Location(root), meta("toy"), "same")
    write_shards(draft, rows, images)
    draft.finish_shard(0, draft.rows, {"µ.mrc": "every pixel is 7"})
    noted = Draft(Location(root), meta("toy"), "same").finished[0]
    assert (noted.rows, noted.unusable) == (draft.rows, {"µ.mrc": "every pixel is 7"})


def test_a_shard_that_is_not_there_is_never_noted(root, make_rows, meta):
    rows, _ = make_rows(2)
    draft = Draft(Location(root), meta("toy"), "one")
    with pytest.raises(StoreError, match=r"00000.shard: not there where \d+ bytes were written; on a cluster"):
        draft.finish_shard(0, rows)
    assert draft.finished == {}


def test_one_of_another_input_is_left_alone(root, make_rows, filled):
    first = filled("one")
    second = filled("other", seed=1)
    assert (first.version, second.version) == ("v0001", "v0002")
    second.commit()
    first.commit()
    manifest = Store(root).manifest("toy")
    assert sorted(manifest.versions) == ["v0001", "v0002"]
    assert manifest.current == "v0001", "the one committed last"
    assert is_version_of(root, "v0001", make_rows(4, 0)[1])
    assert is_version_of(root, "v0002", make_rows(4, 1)[1])


@pytest.mark.parametrize("moment", ["happens_after_reading", "happens_before_writing"])
def test_a_commit_between_reading_and_writing_the_manifest_is_kept(root, make_rows, filled, moment):
    location = Interrupted(root)
    ours, other = filled("ours", at=location), filled("other", seed=1)
    setattr(location, moment, other.commit)
    version, _, unchanged, _ = ours.commit()
    assert (version, unchanged) == ("v0001", False)
    assert sorted(Store(root).manifest("toy").versions) == ["v0001", "v0002"]
    assert is_version_of(root, "v0001", make_rows(4, 0)[1])
    assert is_version_of(root, "v0002", make_rows(4, 1)[1])


def test_the_second_run_of_one_input_takes_over_and_the_first_is_told(root, make_rows, filled):
    first = filled()
    second = filled()
    assert second.version == "v0001"
    with pytest.raises(StoreChangedError, match="was started once more and has taken over") as caught:
        first.finish_shard(2, make_rows(2, 5)[0])
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreChangedError, match="taken over"):
        first.commit()
    second.commit()
    assert is_version_of(root, "v0001", make_rows(4)[1])


def test_who_comes_second_with_the_same_content_removes_nothing(root, make_rows, filled):
    first, second = filled(), filled()
    assert second.commit()[2] is False
    assert first.commit()[0::2] == ("v0001", True)
    first.discard()
    assert is_version_of(root, "v0001", make_rows(4)[1])


def test_who_comes_second_after_a_third_does_not_bring_its_version_back(root, filled):
    location = Interrupted(root)
    first, third = filled(at=location), filled("other", seed=1)
    location.happens_before_writing = lambda: (filled().commit(), third.commit())
    assert first.commit()[0::2] == ("v0001", True)
    manifest = Store(root).manifest("toy")
    assert (sorted(manifest.versions), manifest.current) == (["v0001", "v0002"], "v0002")


def test_who_was_overtaken_cannot_commit_what_was_discarded(root, filled):
    first, second = filled(), filled()
    second.discard()
    with pytest.raises(StoreChangedError, match="taken over"):
        first.commit()
    assert Store(root).names() == ()
    assert folders_of(root) == set()


def test_a_draft_being_committed_is_not_discarded(root, make_rows, filled):
    location = Interrupted(root)
    ours = filled(at=location)
    location.happens_before_writing = lambda: filled().discard()
    ours.commit()
    assert is_version_of(root, "v0001", make_rows(4)[1])


def test_a_number_taken_and_committed_in_the_same_moment_is_not_written_again(root, make_rows, meta, filled):
    """Between our look at the store and our reservation another ingest may begin and end."""

    class Late(Location):
        def files(self, path: str = "") -> tuple[FileEntry, ...]:
            found = super().files(path)
            if path == "toy" and not Location(root).exists("toy/manifest.json"):
                filled("other", seed=1).commit()
            return found

    draft = Draft(Late(root), meta("toy"), "ours")
    assert draft.version == "v0002"
    draft.discard()
    assert is_version_of(root, "v0001", make_rows(4, 1)[1])
    assert Location(root).names("toy/v0001") == ("00000.shard", "00001.shard", "index.parquet")


def test_an_end_just_before_or_after_the_commit(root, make_rows, write_shards, meta):
    """The manifest is written after all else, so the end may come with only it or only the cleaning up missing."""
    rows, images = make_rows(6)
    location = Location(root)
    draft = Draft(location, meta("toy"), "same")
    write_shards(draft, rows, images)
    location.write("toy/v0001/index.parquet", b"of an ingest that ended here")
    location.write("toy/v0001/.00003.shard.1.tmp", b"half")
    assert Store(root).names() == ()
    continued = Draft(location, meta("toy"), "same")
    assert len(continued.rows) == 6
    journal = {name: location.read(f"toy/v0001/journal/{name}") for name in location.names("toy/v0001/journal")}
    continued.commit()
    for name, content in journal.items():
        location.write(f"toy/v0001/journal/{name}", content)
    Draft(location, meta("toy"), "same").discard()
    assert location.names("toy/v0001") == ("00000.shard", "00001.shard", "00002.shard", "index.parquet")
    assert len(Store(root).open("toy")) == 6


def test_writing_the_same_again_repairs(root, make_rows, write_shards, meta):
    rows, images = make_rows(6)
    location = Location(root)
    for identity in ("one", "two"):
        draft = Draft(location, meta("toy"), identity)
        write_shards(draft, rows, images)
        _, _, unchanged, repaired = draft.commit()
        if identity == "one":
            location.write("toy/v0001/00001.shard", b"x" * location.size("toy/v0001/00001.shard"))
            location.remove("toy/v0001/00002.shard")
            location.write("toy/v0001/index.parquet", b"broken")
    assert unchanged
    assert repaired == ("00001.shard", "00002.shard", "index.parquet")
    assert is_version_of(root, "v0001", images)


class Flipping(Location):
    """A real location from which the first so many answers about a shard of the draft come with one bit wrong."""

    wrong_answers = 0

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        content = super().read_range(path, offset, length)
        if path == "toy/v0002/00001.shard" and self.wrong_answers:
            self.wrong_answers -= 1
            return bytes([content[0] ^ 1]) + content[1:]
        return content


@pytest.mark.parametrize("wrong_answers", [2, 100])
def test_a_repair_writes_no_wrong_bytes(root, make_rows, write_shards, meta, wrong_answers):
    rows, images = make_rows(4)
    location = Flipping(root)
    write_shards(first := Draft(location, meta("toy"), "one"), rows, images)
    first.commit()
    location.write("toy/v0001/00001.shard", bad := b"x" * location.size("toy/v0001/00001.shard"))
    write_shards(draft := Draft(location, meta("toy"), "two"), rows, images)
    location.wrong_answers = wrong_answers
    if wrong_answers > 3:
        with pytest.raises(StoreError, match=r"v0002/00001.shard: micrograph m002.mrc: the checksum does"):
            draft.commit()
        assert location.read("toy/v0001/00001.shard") == bad
        draft = Draft(location, meta("toy"), "two")
        assert set(draft.finished) == {0}, "what cannot be relied on is written again"
        location.wrong_answers = 0
        write_shards(draft, rows[2:], images[2:])
    assert draft.commit()[2:] == (True, ("00001.shard",))
    assert is_version_of(root, "v0001", images)


class NothingRemoved(Location):
    """A real location where we may not remove anything."""

    def remove(self, path: str) -> None:
        raise StoreAccessError(f"cannot remove {path}")

    def unfinished_uploads(self, path: str = "") -> tuple[Upload, ...]:
        raise StoreAccessError(f"cannot list uploads to {path}")


def test_what_cannot_be_tidied_up_is_no_failure(root, make_rows, write_shards, meta):
    rows, images = make_rows(4)
    for identity, unchanged in (("one", False), ("one", True), ("two", True)):
        draft = Draft(NothingRemoved(root), meta("toy"), identity)
        write_shards(draft, rows, images)
        assert draft.commit()[0::2] == ("v0001", unchanged)
    assert is_version_of(root, "v0001", images)
    store = Store(root)
    assert {found.path for found in remove(store, leftovers(store, older_than_hours=0))} > {"toy/v0001/journal"}
    assert Location(root).names("toy/v0001") == ("00000.shard", "00001.shard", "index.parquet")
    assert folders_of(root) == {"manifest.json", "v0001"}


def test_a_base_gives_its_micrographs_and_shards(root, make_rows, write_shards, meta, filled):
    filled().commit()
    for number in (2, 3):  # a chain: the third version uses shards of both
        base = Store(root).open("toy")
        rows, images = make_rows(2, seed=number, name=f"n{number}")
        draft = Draft(Location(root), meta("toy"), f"append {number}", base)
        write_shards(draft, rows, images)
        assert draft.commit()[0] == f"v000{number}"
    dataset = Store(root).open("toy")
    shards = [row.shard for row in dataset.rows]
    assert (
        shards
        == ["v0001/00000.shard"] * 2 + ["v0001/00001.shard"] * 2 + ["v0002/00000.shard"] * 2 + ["00000.shard"] * 2
    )
    images = [*make_rows(4)[1], *make_rows(2, 2)[1], *make_rows(2, 3)[1]]
    assert [len(images_of(root, version)) for version in ("v0001", "v0002", "v0003")] == [4, 6, 8]
    assert is_version_of(root, "v0003", images)


@pytest.mark.parametrize("moment", ["before", "between"])
def test_a_base_that_is_no_longer_current_is_refused(root, make_rows, write_shards, meta, filled, moment):
    filled().commit()
    location = Interrupted(root)
    draft = Draft(location, meta("toy"), "append", Store(root).open("toy"))
    write_shards(draft, *make_rows(2, seed=7, name="n"))
    other = filled("other", seed=1)
    if moment == "before":
        other.commit()
    else:
        location.happens_before_writing = other.commit
    with pytest.raises(StoreChangedError, match="another ingest made v0003 while this one appended to v0001; run the"):
        draft.commit()
    manifest = Store(root).manifest("toy")
    assert (sorted(manifest.versions), manifest.current) == (["v0001", "v0003"], "v0003")


def test_a_reservation_that_cannot_be_read_is_another_s(root, filled):
    Location(root).write("toy/v0001/journal/draft.json", b"[]")
    Location(root).write("toy/v0002/journal/draft.json", json.dumps({"identity": "one"}).encode())
    assert filled("one").version == "v0003"
