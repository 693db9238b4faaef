"""Heads that travel as files: out of one registry, into another, and everything that is refused on the way."""

import hashlib
import json
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_registry import (
    HeadPackage,
    HeadRegistry,
    PackageError,
    RegistryError,
    TrunkMismatchError,
    TrunkPackage,
    ensure_experiment,
    write_package,
)
from hydrapicker_registry.archive import export_head, open_archive


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory,
    trunk_and_head: tuple[TrunkPackage, HeadPackage],
    fresh_database: Callable[[Path], str],
) -> Path:
    """A folder with `head.zip` and the folder `head`, exported from a registry of their own."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("exported")
    uri = fresh_database(folder / "mlflow.db")
    run_id = MlflowClient(uri).create_run(ensure_experiment(uri, "training")).info.run_id
    trunk, head = trunk_and_head
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRAPICKER_CACHE", str(folder / "cache"))
        registry = HeadRegistry(uri)
        registry.register_trunk(trunk, run_id)
        registry.register_head(head, run_id, "champion")
        loaded = registry.load("PDB-6b7n")
        export_head(loaded, folder / "head.zip")
        export_head(loaded, folder / "head")
        with pytest.raises(InvalidInputError, match="is there already"):
            export_head(loaded, folder / "head.zip")
        with pytest.raises(RegistryError, match="cannot be written"):
            export_head(loaded, folder / "mlflow.db" / "head.zip")
    assert sorted(p.name for p in folder.iterdir()) == ["artifacts", "cache", "head", "head.zip", "mlflow.db"]
    return folder


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported folder, to spoil."""
    shutil.copytree(exported / "head", tmp_path / "copy")
    return tmp_path / "copy"


def refusal(path: Path) -> str:
    with pytest.raises(PackageError) as caught, open_archive(path):
        pass
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["head", "head.zip"])
def test_a_head_travels_to_an_empty_registry_to_the_byte(
    exported: Path,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trunk_and_head: tuple[TrunkPackage, HeadPackage],
    fresh_database: Callable[[Path], str],
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("HYDRAPICKER_CACHE", str(tmp_path / "cache"))
    uri = fresh_database(tmp_path / "other.db")
    run_id = MlflowClient(uri).create_run(ensure_experiment(uri, "imports")).info.run_id
    registry = HeadRegistry(uri)
    with open_archive(exported / name) as (head, trunk):
        assert registry.register_trunk(trunk, run_id) == 1
        assert registry.register_head(head, run_id, "champion") == 1
        assert registry.register_head(head, run_id, "champion") == 1
    loaded = registry.load("PDB-6b7n")
    assert loaded.head.metadata == trunk_and_head[1].metadata
    digest = hashlib.sha256((exported / "head/head/head.json").read_bytes()).hexdigest()
    assert loaded.version.package_sha256 == digest


def test_both_forms_hold_the_same_files(exported: Path) -> None:
    with zipfile.ZipFile(exported / "head.zip") as archive:
        inside = {name: archive.read(name) for name in archive.namelist()}
    folder = exported / "head"
    assert inside == {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert set(inside) >= {"head/head.json", "head/head.safetensors", "trunk/trunk.json", "trunk/trunk.safetensors"}


def test_a_folder_zipped_again_by_other_means_is_taken(exported: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "again"), "zip", exported / "head")
    with open_archive(tmp_path / "again.zip") as (head, _):
        assert head.package.metadata.dataset == "PDB-6b7n"


Spoil = Callable[[Path], object]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "head/head.safetensors").write_bytes(flipped(f / "head/head.safetensors")), "sha256 differs"),
        (lambda f: spoil_trunk(f / "trunk/trunk.safetensors"), "trunk.safetensors: damaged or altered"),
        (lambda f: edit(f / "head/head.json", format_version=9), "format version 9"),
        (lambda f: edit(f / "head/head.json", dataset="a/b"), "'a/b' is not allowed"),
        (lambda f: edit(f / "head/head.json", threshold=7), "threshold 7"),
        (lambda f: forge(f, b"\x80\x04K\x01."), "holds a pickle, which is never loaded"),
        (lambda f: forge(f, oversized()), "not readable as safetensors"),
        (lambda f: (f / "head/evil.py").write_text("1"), "'evil.py', which head.json does not list"),
        (lambda f: (f / "extra.txt").write_text("1"), "holds 'extra.txt'"),
        (lambda f: (f / "head/sub").mkdir(), "'head/sub', which no export has"),
        (lambda f: shutil.rmtree(f / "trunk"), "no folder 'trunk'"),
        (lambda f: link(f / "head/README.md"), "head/README.md is no plain file"),
        (lambda f: link(f / "trunk"), "no folder 'trunk'"),
        (lambda f: (f / "head/head.json").unlink(), "head.json: not there"),
        (lambda f: (f / "head/overlay.png").open("r+b").truncate(17 * 2**20), "larger than 16 MiB"),
        (lambda f: (f / "head/head.safetensors").open("r+b").truncate(2**30 + 1), "larger than 1024 MiB"),
    ],
)  # fmt: skip
def test_a_spoiled_folder_is_refused(copy: Path, spoil: Spoil, words: str) -> None:
    spoil(copy)
    assert words in refusal(copy)


def test_another_trunk_is_refused(copy: Path, make_trunk: Callable[..., TrunkPackage]) -> None:
    shutil.rmtree(copy / "trunk")
    write_package(copy / "trunk", make_trunk(seed=77))
    with pytest.raises(TrunkMismatchError, match="head 'PDB-6b7n' was trained on a trunk with sha256"):
        open_archive(copy).__enter__()


def flipped(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    content[-9] ^= 4
    return bytes(content)


def spoil_trunk(path: Path) -> None:
    path.write_bytes(flipped(path))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def forge(folder: Path, weights: bytes) -> None:
    (folder / "head/head.safetensors").write_bytes(weights)
    edit(folder / "head/head.json", weights_sha256=hashlib.sha256(weights).hexdigest())


def oversized() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"1234"


def link(path: Path) -> None:
    away = path.rename(path.parent.parent / f"away-{path.name}" if path.is_file() else path.parent.parent / "away")
    path.symlink_to(away)


def zip_of(path: Path, folder: Path, extra: Callable[[zipfile.ZipFile], object]) -> Path:
    """A zip file with all that an export has, and something more."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            if file.is_file():
                archive.write(file, str(file.relative_to(folder)))
        extra(archive)
    return path


def linked(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (lambda z: z.writestr("../escaped.txt", "1"), "holds '../escaped.txt'"),
        (lambda z: z.writestr("head/../../escaped.png", "1"), "holds 'head/../../escaped.png'"),
        (lambda z: z.writestr("/escaped.png", "1"), "holds '/escaped.png'"),
        (lambda z: z.writestr("head\\..\\escaped.png", "1"), "which no export has"),
        (lambda z: z.writestr("other/x.png", "1"), "holds 'other/x.png'"),
        (lambda z: z.writestr("head/sub/x.png", "1"), "holds 'head/sub/x.png'"),
        (lambda z: z.writestr(linked("head/x.png"), "/etc/passwd"), "head/x.png is a link"),
        (lambda z: z.writestr("head/bomb.png", b"0" * 10**7, zipfile.ZIP_DEFLATED), "far more than it is"),
        (lambda z: z.writestr("head/README.md", "again"), "holds a file twice"),
        (lambda z: [z.writestr(f"head/x{i}.png", "1") for i in range(101)], "files, which no export has"),
        (lambda z: z.writestr("head/x.png", "1"), "'x.png', which head.json does not list"),
    ],
)
def test_a_spoiled_zip_is_refused_and_nothing_is_written(
    exported: Path, tmp_path: Path, extra: Callable, words: str
) -> None:
    (tmp_path / "in").mkdir()
    path = zip_of(tmp_path / "in" / "head.zip", exported / "head", extra)
    assert words in refusal(path)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    assert not Path("/escaped.png").exists()


def test_what_is_no_whole_zip_is_refused(exported: Path, tmp_path: Path) -> None:
    content = bytearray((exported / "head.zip").read_bytes())
    (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
    assert "not a whole zip file" in refusal(tmp_path / "cut.zip")
    (tmp_path / "text.zip").write_text("no zip at all")
    assert "not a whole zip file" in refusal(tmp_path / "text.zip")
    content[300] ^= 1  # within the first stored file
    (tmp_path / "flipped.zip").write_bytes(content)
    assert "not a whole zip file" in refusal(tmp_path / "flipped.zip")
    assert "not there" in refusal(tmp_path / "none.zip")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    assert "head.json: not there" in refusal(tmp_path / "empty.zip")
