"""Packages written and read back, and every way of tampering with one."""

import hashlib
import json
import pickle
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_registry import HeadPackage, PackageError, TrunkPackage, read_package, write_package


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def folder(head: HeadPackage, tmp_path: Path) -> Path:
    write_package(tmp_path / "package", head)
    return tmp_path / "package"


def edit(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    document = json.loads((folder / "head.json").read_text())
    change(document)
    (folder / "head.json").write_text(json.dumps(document))


def replace_weights(folder: Path, content: bytes) -> None:
    """Replace the weights as a careful forger would: with the checksum that goes with them."""
    (folder / "head.safetensors").write_bytes(content)
    edit(folder, lambda document: document.update(weights_sha256=hashlib.sha256(content).hexdigest()))


def test_a_head_comes_back_as_it_went(head: HeadPackage, folder: Path) -> None:
    back = read_package(folder)
    assert isinstance(back, HeadPackage)
    assert back.metadata == head.metadata
    assert back.pictures == head.pictures
    assert back.weights.keys() == head.weights.keys()
    assert all(torch.equal(back.weights[key], head.weights[key]) for key in head.weights)
    assert back.sha256 == head.sha256 == sha256(folder / "head.safetensors")


def test_a_trunk_comes_back_as_it_went(trunk: TrunkPackage, tmp_path: Path) -> None:
    digest = write_package(tmp_path / "trunk", trunk)
    assert digest == sha256(tmp_path / "trunk" / "trunk.json")
    back = read_package(tmp_path / "trunk", sha256=digest)
    assert isinstance(back, TrunkPackage)
    assert back.metadata == trunk.metadata
    assert back.sha256 == trunk.sha256


def test_the_weights_are_plain_safetensors(head: HeadPackage, folder: Path) -> None:
    loaded = safetensors.torch.load_file(folder / "head.safetensors")
    assert {key: tensor.shape for key, tensor in loaded.items()} == {
        key: tensor.shape for key, tensor in head.weights.items()
    }
    assert not any("6b7n" in key for key in loaded)


def test_number_formats_and_shared_memory_survive(head: HeadPackage, tmp_path: Path) -> None:
    shared = torch.arange(6, dtype=torch.float32)
    weights = {
        "half": torch.ones(2, 3, dtype=torch.float16),
        "brain": torch.ones(2, dtype=torch.bfloat16),
        "count": torch.tensor(3),
        "none": torch.zeros(0, 4),
        "view": shared.reshape(2, 3).T,
        "whole": shared,
    }
    write_package(tmp_path / "package", replace(head, weights=weights))
    back = read_package(tmp_path / "package").weights
    for name, tensor in weights.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)


def test_the_same_package_is_the_same_bytes(head: HeadPackage, tmp_path: Path) -> None:
    assert write_package(tmp_path / "a", head) == write_package(tmp_path / "b", replace(head))
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_the_sha256_covers_weights_architecture_and_input(trunk: TrunkPackage) -> None:
    other_input = replace(trunk.metadata.input, box_px=22)
    others = [
        replace(trunk, weights={key: tensor + 1 for key, tensor in trunk.weights.items()}),
        replace(trunk, metadata=replace(trunk.metadata, architecture={"width": 8})),
        replace(trunk, metadata=replace(trunk.metadata, input=other_input)),
    ]
    assert len({trunk.sha256, *(other.sha256 for other in others)}) == 4
    later = replace(trunk, metadata=replace(trunk.metadata, created="2027-01-01T00:00:00Z"))
    assert later.sha256 == trunk.sha256


def test_nothing_is_written_over(head: HeadPackage, folder: Path) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(OSError, match="not empty"):
        write_package(folder, head)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [entry.name for entry in folder.parent.iterdir()] == ["package"]


def test_the_card_tells_what_a_person_wants_to_know(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    for words in ["Head PDB-6b7n", 'load_head("PDB-6b7n")', "120 Å", "0.875", "![overlay](overlay.png)"]:
        assert words in card
    assert "<b>" not in card
    assert "\\| Pipe" in card


@pytest.mark.parametrize("name", ["head.safetensors", "README.md", "overlay.png"])
def test_a_flipped_byte_is_refused(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(PackageError, match=re.escape(name) + ".*sha256 differs"):
        read_package(folder)


@pytest.mark.parametrize("name", ["head.json", "head.safetensors", "README.md", "overlay.png"])
def test_a_missing_or_linked_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).rename(folder.parent / name)
    with pytest.raises(PackageError, match=re.escape(name)):
        read_package(folder)
    (folder / name).symlink_to(folder.parent / name)
    with pytest.raises(PackageError, match="not a plain file"):
        read_package(folder)


def test_a_surplus_file_is_refused(folder: Path) -> None:
    (folder / "code.py").write_text("print('hello')")
    with pytest.raises(PackageError, match=r"code\.py"):
        read_package(folder)


def test_an_edited_json_is_refused_by_its_sha256(head: HeadPackage, tmp_path: Path) -> None:
    digest = write_package(tmp_path / "package", head)
    edit(tmp_path / "package", lambda document: document.update(metrics={"ap": 1.0}))
    with pytest.raises(PackageError, match="changed since it was registered"):
        read_package(tmp_path / "package", sha256=digest)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["architecture"].update(norm_eps=1e-3),
        lambda document: document["input"].update(contrast="light"),
        lambda document: document["trunk"].update(sha256="c" * 64),
    ],
    ids=["architecture", "input", "trunk"],
)
def test_a_json_that_belies_the_weights_is_refused(folder: Path, change: Callable[..., object]) -> None:
    edit(folder, change)
    with pytest.raises(PackageError, match="belong to another"):
        read_package(folder)


@pytest.mark.parametrize("version", [0, 2, "1", True, None])
def test_an_unknown_format_version_says_what_to_do(folder: Path, version: object) -> None:
    edit(folder, lambda document: document.update(format_version=version))
    with pytest.raises(PackageError, match=r"format version .* reads 1; upgrade"):
        read_package(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda document: document.update(surprise=1), "unknown surprise"),
        (lambda document: document.pop("licence"), "lacks licence"),
        (lambda document: document.pop("weights_sha256"), "lacks weights_sha256"),
        (lambda document: document.update(weights_sha256="abc"), "not a sha256"),
        (lambda document: document.update(kind="trunk"), "kind 'trunk'"),
        (lambda document: document.update(authors="me"), "authors: expected"),
        (lambda document: document["metrics"].update(ap="0.9"), "metrics.ap: expected float"),
        (lambda document: document["metrics"].update(ap=True), "metrics.ap: expected float"),
        (lambda document: document["metrics"].update(ap=10**400), "metrics.ap: expected float"),
        (lambda document: document["metrics"].update(ap=float("nan")), "NaN is not a number"),
        (lambda document: document["input"].update(box_px=21.0), "box_px: expected int"),
        (lambda document: document["input"].update(contrast="grey"), "contrast: expected"),
        (lambda document: document["input"].update(diameter_angstrom=-1), "positive number"),
        (lambda document: document["trunk"].update(name="other"), "trunk name 'other'"),
        (lambda document: document["trunk"].update(version=0), "at least 1"),
        (lambda document: document.update(trunk=[]), "trunk: expected an object"),
        (lambda document: document.update(dataset="../etc"), "not allowed"),
        (lambda document: document.update(dataset="generic"), "generic head has no dataset"),
        (lambda document: document.update(dataset_fingerprint=None), "needs its dataset's"),
        (lambda document: document.update(created="yesterday"), "not a time in UTC"),
        (lambda document: document.update(created="2026-01-31T12:00:00"), "not a time in UTC"),
        (lambda document: document.update(created="2026-01-31T12:00:00+02:00"), "not a time in UTC"),
        (lambda document: document.update(threshold=2), "threshold"),
        (lambda document: document["attachments"].update({"../x.png": "d" * 64}), "not allowed"),
        (lambda document: document["attachments"].update({"x.pkl": "d" * 64}), "not allowed"),
        (lambda document: document["attachments"].pop("README.md"), "attachments lack README.md"),
    ],
)
def test_a_json_with_anything_wrong_is_refused(folder: Path, change: Callable[..., object], words: str) -> None:
    edit(folder, change)
    with pytest.raises(PackageError, match=re.escape(words)) as caught:
        read_package(folder)
    assert "head.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1, "a": 2}', "[" * 100_000, "\udcff"])
def test_what_is_not_a_json_object_is_refused(folder: Path, text: str) -> None:
    (folder / "head.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(PackageError, match=r"head\.json"):
        read_package(folder)


def test_pickles_are_refused(folder: Path, head: HeadPackage) -> None:
    replace_weights(folder, pickle.dumps({"a": 1}))
    with pytest.raises(PackageError, match="pickle"):
        read_package(folder)
    torch.save(dict(head.weights), folder / "head.safetensors")
    replace_weights(folder, (folder / "head.safetensors").read_bytes())
    with pytest.raises(PackageError, match="pickle"):
        read_package(folder)


def safetensors_bytes(header: dict[str, object], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 2**40) + b"{}",
        safetensors_bytes({"w": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}}, b"1234"),
        safetensors_bytes({"w": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}}, b"1234"),
        safetensors_bytes({"w": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4]}}, b"1234"),
        safetensors_bytes({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"12345678"),
        safetensors_bytes({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"1234"),
        safetensors_bytes({"w": {"dtype": "OBJ", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
    ],
    ids=["empty", "short", "huge header", "oversized", "overflow", "shape", "surplus", "negative", "dtype"],
)
def test_malformed_safetensors_are_refused(folder: Path, content: bytes) -> None:
    replace_weights(folder, content)
    with pytest.raises(PackageError, match=r"head\.safetensors: not readable as safetensors"):
        read_package(folder)


def test_other_weights_without_our_header_are_refused(folder: Path) -> None:
    replace_weights(folder, safetensors.torch.save({"w": torch.zeros(1)}))
    with pytest.raises(PackageError, match="belong to another"):
        read_package(folder)


def test_weights_that_cannot_be_a_head_are_refused(head: HeadPackage, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="NaN"):
        write_package(tmp_path / "a", replace(head, weights={"w": torch.tensor([1.0, float("nan")])}))
    with pytest.raises(PackageError, match="no weights"):
        write_package(tmp_path / "a", replace(head, weights={}))
    with pytest.raises(PackageError, match="names the dataset"):
        replace(head, weights={"heads.PDB-6b7n.w": torch.zeros(1)})
    assert list(tmp_path.iterdir()) == []


def test_weights_changed_after_the_package_was_made_are_noticed(head: HeadPackage, tmp_path: Path) -> None:
    own = replace(head, weights={key: tensor.clone() for key, tensor in head.weights.items()})
    assert own.sha256 == head.sha256
    own.weights["0.bias"].add_(1)
    with pytest.raises(PackageError, match="changed since"):
        write_package(tmp_path / "a", own)


def test_metadata_that_json_cannot_hold_is_refused(head: HeadPackage) -> None:
    with pytest.raises(InvalidInputError, match="architecture"):
        replace(head.metadata, architecture={"width": torch.tensor(3)})
    with pytest.raises(InvalidInputError, match="metric ap is nan"):
        replace(head.metadata, metrics={"ap": float("nan")})
    assert replace(head.metadata, architecture={"a": (1, 2)}).architecture == {"a": [1, 2]}
