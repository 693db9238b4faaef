"""A head with its trunk as one folder or zip file, for laboratories whose registry cannot reach another's.

Inside are the two packages as they are stored: `head/head.json`, `head/head.safetensors` … and `trunk/trunk.json` …
"""

import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_registry.atomic import whole_folder
from hydrapicker_registry.cache import package_folder
from hydrapicker_registry.errors import PackageError, RegistryError
from hydrapicker_registry.mlflow_model import HEAD_FOLDER, TRUNK_FOLDER
from hydrapicker_registry.package import (
    MAX_SIDE_FILE_BYTES,
    MAX_WEIGHTS_BYTES,
    HeadPackage,
    StoredPackage,
    TrunkPackage,
    check_trunk,
    open_package,
)
from hydrapicker_registry.reading import LoadedHead

_PARTS = (HEAD_FOLDER, TRUNK_FOLDER)
_MEMBER = re.compile(rf"(?:{HEAD_FOLDER}|{TRUNK_FOLDER})/[A-Za-z0-9][A-Za-z0-9_-]{{0,63}}\.[a-z]{{2,11}}")
_MAX_MEMBERS = 100
_MAX_SQUEEZE = 100
"""Weights hardly shrink: what unpacks to more than this many times its size is made to fill a disk."""

_TIMELESS = (1980, 1, 1, 0, 0, 0)


def export_head(loaded: LoadedHead, out: Path) -> None:
    """Write a loaded head with its trunk to a new folder, or to a new zip file where `out` ends in `.zip`.

    Raises
    ------
    InvalidInputError
        When there is something at `out` already.
    RegistryError
        When `out` cannot be written; nothing is left behind.
    """
    if out.exists() or out.is_symlink():
        raise InvalidInputError(f"{out}: is there already; remove it or give another --out")
    parts = dict(zip(_PARTS, (loaded.version.package_sha256, loaded.version.trunk_package_sha256), strict=True))
    try:
        if out.suffix.lower() != ".zip":
            with whole_folder(out) as scratch:
                for part, sha256 in parts.items():
                    shutil.copytree(package_folder(sha256), scratch / part)
            return
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as folder:
            scratch = Path(folder) / "head.zip"
            with zipfile.ZipFile(scratch, "w") as archive:
                for part, sha256 in parts.items():
                    for file in sorted(package_folder(sha256).iterdir()):
                        member = zipfile.ZipInfo(f"{part}/{file.name}", _TIMELESS)
                        member.external_attr = (stat.S_IFREG | 0o644) << 16
                        archive.writestr(member, file.read_bytes())
            scratch.replace(out)
    except OSError as error:
        raise RegistryError(f"{out}: cannot be written ({error.strerror or error}); give another --out") from error


@contextmanager
def open_archive(path: Path) -> Iterator[tuple[StoredPackage, StoredPackage]]:
    """Copy what :func:`export_head` wrote to a place of our own, and give head and trunk once all of it is checked.

    Raises
    ------
    PackageError
        For anything in it that an export does not have: other names, `..`, links, encryption, what unpacks to far more
        than it is, and all that :func:`hydrapicker_registry.package.read_package` refuses.
    TrunkMismatchError
        When the trunk is not the one that the head was trained on.
    """
    with tempfile.TemporaryDirectory(prefix="hydrapicker-import-") as folder:
        inside = Path(folder)
        if path.is_dir():
            _copy_folder(path, inside)
        elif path.is_file():
            _unpack(path, inside)
        else:
            raise PackageError(f"{path}: not there; give a folder or zip file that `hydrapicker heads export` wrote")
        try:
            head, trunk = (open_package(inside / part) for part in _PARTS)
        except PackageError as error:
            raise PackageError(f"{path}: {str(error).replace(f'{inside}/', '')}") from error
        if not isinstance(head.package, HeadPackage) or not isinstance(trunk.package, TrunkPackage):
            raise PackageError(f"{path}: expected a head and its trunk; get the export again")
        check_trunk(head.package, trunk.package, f"{path}: head {head.package.metadata.dataset!r}")
        yield head, trunk


def _copy_folder(path: Path, to: Path) -> None:
    for part in _PARTS:
        source = path / part
        if source.is_symlink() or not source.is_dir():
            raise PackageError(f"{path}: holds no folder {part!r}; give what `hydrapicker heads export` wrote")
        (to / part).mkdir()
        for file in source.iterdir():
            name = f"{part}/{file.name}"
            _check_name(path, name)
            if file.is_symlink() or not file.is_file():
                raise PackageError(f"{path}: {name} is no plain file; do not use it")
            _check_size(path, name, file.stat().st_size)
            shutil.copyfile(file, to / name)
    if surplus := sorted({entry.name for entry in path.iterdir()} - set(_PARTS)):
        raise PackageError(f"{path}: holds {surplus[0]!r}, which no export has; remove it")


def _unpack(path: Path, to: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename not in {f"{p}/" for p in _PARTS}]
            if len(members) > _MAX_MEMBERS:
                raise PackageError(f"{path}: holds {len(members)} files, which no export has; do not use it")
            for member in members:
                _check_member(path, member)
            if len({member.filename for member in members}) < len(members):
                raise PackageError(f"{path}: holds a file twice; do not use it")
            for part in _PARTS:
                (to / part).mkdir()
            for member in members:
                # zipfile gives no more bytes than are stated, which are checked above, and checks their CRC
                with archive.open(member) as source, (to / member.filename).open("xb") as target:
                    shutil.copyfileobj(source, target, 2**20)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
        if isinstance(error, PackageError):
            raise
        raise PackageError(f"{path}: not a whole zip file ({error}); get the export again") from error


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    name = member.filename
    _check_name(path, name)
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        raise PackageError(f"{path}: {name} is a link or no plain file; do not use it")
    if member.flag_bits & 0x1:
        raise PackageError(f"{path}: {name} is encrypted, which no export is; get the export again")
    _check_size(path, name, member.file_size)
    if member.file_size > _MAX_SQUEEZE * member.compress_size + 4096:
        raise PackageError(f"{path}: {name} unpacks to {member.file_size} bytes, far more than it is; do not use it")


def _check_name(path: Path, name: str) -> None:
    if not _MEMBER.fullmatch(name):
        raise PackageError(f"{path}: holds {name[:80]!r}, which no export has; do not use it")


def _check_size(path: Path, name: str, size: int) -> None:
    limit = MAX_WEIGHTS_BYTES if name.endswith(".safetensors") else MAX_SIDE_FILE_BYTES
    if size > limit:
        raise PackageError(f"{path}: {name} is larger than {limit // 2**20} MiB, which no package needs; do not use it")
