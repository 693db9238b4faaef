import hashlib
from collections.abc import Callable

import pytest

from hydrapicker.errors import DatasetNotFoundError, StoreAccessError, StoreError
from hydrapicker.storage.location import Location
from hydrapicker.store import verify as verify_module
from hydrapicker.store.draft import Draft
from hydrapicker.store.store import Store
from hydrapicker.store.verify import Damage, verify


@pytest.fixture
def change(root: str) -> Callable[..., None]:
    """Change a stored file behind the store's back."""

    def change(path: str, by: Callable[[bytearray], bytes | bytearray]) -> None:
        location = Location(root)
        location.write(path, bytes(by(bytearray(location.read(path)))))

    return change


def flipped(position: int, bit: int = 0x10) -> Callable[[bytearray], bytearray]:
    def flip(content: bytearray) -> bytearray:
        content[position] ^= bit
        return content

    return flip


def found_in(root: str, version: str | None = None) -> list[tuple[str, str | None, str]]:
    return [(damage.shard, damage.micrograph, damage.reason) for damage in verify(Store(root), "toy", version).damages]


def test_an_intact_version(root, write_dataset):
    write_dataset(root)
    location = Location(root)
    files = [f"toy/v0001/{name}" for name in location.names("toy/v0001")]
    calls = []
    report = verify(Store(root), "toy", progress=lambda *call: calls.append(call))
    assert (report.dataset, report.version, report.micrographs, report.shards) == ("toy", "v0001", 7, 4)
    assert report.damages == ()
    assert report.bytes_read == sum(len(location.read(file)) for file in files)
    assert calls[0] == (0, 7, "verifying toy v0001")
    assert calls[-1] == (7, 7, "verifying toy v0001")


@pytest.mark.parametrize("number", [0, 4, 5])
def test_a_flipped_bit_is_found_wherever_it_is(root, write_dataset, change, number):
    write_dataset(root)
    row = Store(root).open("toy").rows[number]
    change(f"toy/v0001/{row.shard}", flipped(row.offset + (0, row.length // 2, row.length - 1)[number % 3], 1))
    assert found_in(root) == [(row.shard, row.id, "the checksum does not match")]


def test_the_first_damage_is_not_the_last_one_found(root, write_dataset, change):
    write_dataset(root)
    rows = Store(root).open("toy").rows
    change("toy/v0001/00000.shard", flipped(0))
    change("toy/v0001/00000.shard", flipped(-1))
    change("toy/v0001/00001.shard", lambda content: content[:-3])
    Location(root).remove("toy/v0001/00002.shard")
    change("toy/v0001/00003.shard", lambda content: content + b"more")
    assert found_in(root) == [
        ("00000.shard", "m000.mrc", "the checksum does not match"),
        ("00000.shard", "m001.mrc", "the checksum does not match"),
        ("00001.shard", "m003.mrc", f"{rows[3].length - 3} of {rows[3].length} bytes, the checksum does not match"),
        ("00002.shard", "m004.mrc", "the shard is missing"),
        ("00002.shard", "m005.mrc", "the shard is missing"),
        ("00003.shard", None, "4 bytes too long"),
    ]


def test_a_shard_cut_to_nothing(root, write_dataset, change):
    write_dataset(root)
    change("toy/v0001/00003.shard", lambda content: b"")
    ((shard, micrograph, reason),) = found_in(root)
    assert (shard, micrograph) == ("00003.shard", "m006.mrc")
    assert reason.startswith("0 of ")


@pytest.mark.parametrize("piece", [100, 2500])
def test_micrographs_larger_than_what_is_read_at_a_time(root, write_dataset, change, monkeypatch, piece):
    rows, images = write_dataset(root, count=2)
    monkeypatch.setattr(verify_module, "_PIECE", piece)  # many within a micrograph, or one across two
    assert found_in(root) == []
    change("toy/v0001/00000.shard", flipped(images[0].nbytes))
    assert found_in(root) == [("00000.shard", "m001.mrc", "the checksum does not match")]
    assert 100 < rows[0].length < 2500


def test_a_damaged_or_missing_index(root, write_dataset, change):
    write_dataset(root)
    index = Location(root).read("toy/v0001/index.parquet")
    change("toy/v0001/index.parquet", flipped(len(index) // 2))
    assert found_in(root) == [("index.parquet", None, "damaged, its sha256 is not the manifest's")]
    Location(root).remove("toy/v0001/index.parquet")
    report = verify(Store(root), "toy")
    assert report.damages == (Damage("toy", "v0001", "index.parquet", None, "missing"),)
    assert (report.micrographs, report.bytes_read) == (0, 0)
    assert str(report.damages[0]) == "toy v0001, index.parquet: missing"


def test_versions_that_share_a_shard(root, write_dataset, make_rows, write_shards, meta, change):
    write_dataset(root, count=4)
    draft = Draft(Location(root), meta("toy"), "more", Store(root).open("toy"))
    write_shards(draft, *make_rows(3, seed=9, name="n"))
    draft.commit()
    assert found_in(root) == found_in(root, "v0001") == []
    assert verify(Store(root), "toy").micrographs == 7
    change("toy/v0001/00001.shard", flipped(0))
    assert found_in(root) == [("v0001/00001.shard", "m002.mrc", "the checksum does not match")]
    assert found_in(root, "v0001") == [("00001.shard", "m002.mrc", "the checksum does not match")]
    (damage,) = verify(Store(root), "toy").damages
    assert str(damage) == "toy v0002, shard v0001/00001.shard, micrograph m002.mrc: the checksum does not match"
    change("toy/v0001/00001.shard", flipped(0))
    change("toy/v0002/00000.shard", flipped(0))
    assert [shard for shard, *_ in found_in(root)] == ["00000.shard"]
    assert found_in(root, "v0001") == []


def test_what_arrives_damaged_once_is_read_once_more(root, write_dataset, monkeypatch):
    """What is stored is judged, not the way it came here."""
    write_dataset(root)
    read, read_range, seen = Location.read, Location.read_range, set()

    def on_the_way(path: str, content: bytes) -> bytes:
        if path in seen:
            return content
        seen.add(path)
        return bytes([content[0] ^ 1]) + content[1:]

    monkeypatch.setattr(Location, "read", lambda self, path: on_the_way(path, read(self, path)))
    monkeypatch.setattr(
        Location, "read_range", lambda self, path, *where: on_the_way(path, read_range(self, path, *where))
    )
    assert found_in(root) == []
    assert {path.rpartition("/")[2] for path in seen} == {"index.parquet", *(f"0000{n}.shard" for n in range(4))}


@pytest.mark.parametrize(
    ("error", "cause"), [(StoreAccessError("expired"), None), (StoreError("no answer"), ConnectionResetError())]
)
def test_a_store_that_does_not_answer_is_not_called_damaged(write_dataset, tmp_path, monkeypatch, error, cause):
    write_dataset(str(tmp_path))
    read_range = Location.read_range

    def fail(self: Location, path: str, offset: int, length: int) -> bytes:
        if path.endswith(".shard"):
            raise error from cause
        return read_range(self, path, offset, length)

    monkeypatch.setattr(Location, "read_range", fail)
    with pytest.raises(type(error), match=str(error)):
        verify(Store(str(tmp_path)), "toy")


def test_a_shard_that_cannot_be_read_is_told_and_the_others_are_checked(write_dataset, tmp_path, monkeypatch):
    """A bad sector, say."""
    write_dataset(str(tmp_path))
    read_range = Location.read_range

    def fail(self: Location, path: str, offset: int, length: int) -> bytes:
        if path.endswith("00001.shard"):
            raise StoreError("cannot read: Input/output error") from OSError(5, "Input/output error")
        return read_range(self, path, offset, length)

    monkeypatch.setattr(Location, "read_range", fail)
    assert found_in(str(tmp_path)) == [
        ("00001.shard", name, "cannot read: Input/output error") for name in ("m002.mrc", "m003.mrc")
    ]


def test_what_is_not_there_is_told_as_everywhere(root, write_dataset):
    write_dataset(root)
    with pytest.raises(DatasetNotFoundError, match="did you mean toy"):
        verify(Store(root), "tay")
    with pytest.raises(DatasetNotFoundError, match="no version v0009; there are v0001"):
        verify(Store(root), "toy", "v0009")


def test_nothing_is_changed(root, write_dataset, change):
    write_dataset(root)
    change("toy/v0001/00000.shard", flipped(0))
    location = Location(root)

    def state() -> dict[str, str]:
        names = location.names("toy/v0001")
        return {name: hashlib.sha256(location.read(f"toy/v0001/{name}")).hexdigest() for name in names}

    before = state()
    verify(Store(root), "toy")
    assert state() == before
