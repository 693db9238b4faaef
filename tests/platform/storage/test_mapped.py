"""Copying from mapped files: the bytes of the file, or a plain no wherever reading is due."""

import os

import numpy as np
import pytest

from hydrapicker.storage import mapped as mapped_module
from hydrapicker.storage.mapped import MappedFiles

CONTENT = np.random.default_rng(0).bytes(300_000)


def copied(files: MappedFiles, path: str, offset: int, length: int) -> bytes | None:
    buffer = bytearray(length)
    return bytes(buffer) if files.copy_into(path, offset, memoryview(buffer)) else None


@pytest.fixture
def files(tmp_path) -> MappedFiles:
    (tmp_path / "shard").write_bytes(CONTENT)
    return MappedFiles(tmp_path)


def test_the_bytes_are_those_of_the_file(files):
    for offset, length in ((0, 300_000), (1, 5), (299_999, 1), (123_456, 100_001)):
        assert copied(files, "shard", offset, length) == CONTENT[offset : offset + length]


def test_no_file_and_an_empty_one_are_for_reading(files, tmp_path):
    (tmp_path / "empty").touch()
    for path in ("none", "empty"):
        assert copied(files, path, 0, 1) is None


def test_a_file_cut_short_is_for_reading(files, tmp_path):
    assert copied(files, "shard", 200_000, 100_000) is not None
    os.truncate(tmp_path / "shard", 250_000)
    assert copied(files, "shard", 200_000, 100_000) is None
    assert copied(files, "shard", 200_000, 50_000) == CONTENT[200_000:250_000]


def test_a_file_put_in_its_place_changes_nothing(files, tmp_path):
    copied(files, "shard", 0, 1)
    (tmp_path / "new").write_bytes(b"short")
    (tmp_path / "new").replace(tmp_path / "shard")
    assert copied(files, "shard", 0, 300_000) == CONTENT


def test_a_file_that_grew_is_mapped_anew(files, tmp_path, monkeypatch):
    monkeypatch.setattr(mapped_module, "_room", mapped_module._Room(300_004))
    assert copied(files, "shard", 0, 300_000) == CONTENT
    assert copied(files, "shard", 300_000, 4) is None
    with (tmp_path / "shard").open("ab") as file:
        file.write(b"more")
    assert copied(files, "shard", 299_000, 1_004) == CONTENT[299_000:] + b"more"


def test_what_is_forgotten_is_mapped_anew_and_gives_its_room_back(files, tmp_path, monkeypatch):
    monkeypatch.setattr(mapped_module, "_room", mapped_module._Room(300_000))
    files.forget("shard")
    assert copied(files, "shard", 0, 10) == CONTENT[:10]
    (tmp_path / "new").write_bytes(CONTENT[::-1])
    (tmp_path / "new").replace(tmp_path / "shard")
    files.forget("shard")
    assert copied(files, "shard", 0, 10) == CONTENT[::-1][:10]


def test_what_is_not_in_memory_is_for_reading(files, monkeypatch):
    asked = []
    monkeypatch.setattr(mapped_module, "in_memory", lambda descriptor, offset: bool(asked.append(offset)))
    assert copied(files, "shard", 1_000, 5) is None
    assert asked == [1_000]


def test_room_is_taken_once_and_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped_module, "_room", mapped_module._Room(500_000))
    for name in ("shard", "other"):
        (tmp_path / name).write_bytes(CONTENT)
    files = MappedFiles(tmp_path)
    for _ in range(2):
        assert copied(files, "shard", 0, 10) is not None
        assert copied(files, "other", 0, 10) is None
    del files
    assert copied(MappedFiles(tmp_path), "other", 0, 10) == CONTENT[:10]


def test_a_path_out_of_the_folder_is_for_reading_which_refuses_it(tmp_path):
    (tmp_path / "secret").write_bytes(CONTENT)
    (tmp_path / "store").mkdir()
    assert copied(MappedFiles(tmp_path / "store"), "../secret", 0, 1) is None
