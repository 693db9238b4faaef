"""What broken-off ingests and repairs left in a store: finding it, and removing it.

Nothing that a version in the manifest needs is ever touched, and nothing that changed lately: an ingest that is still
under way writes a shard every few minutes at the most.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from hydrapicker.errors import InvalidInputError, StoreChangedError
from hydrapicker.storage.location import UNFINISHED, FileEntry, Upload
from hydrapicker.store.layout import JOURNAL, MANIFEST, VERSION_NAME
from hydrapicker.store.manifest import possible_names
from hydrapicker.store.reservation import DRAFT
from hydrapicker.store.store import Store
from hydrapicker_registry.names import validate_dataset_name

__all__ = ["Leftover", "leftovers", "remove"]

Kind = Literal["draft", "journal", "file", "upload"]


@dataclass(frozen=True)
class Leftover:
    """Something that a broken-off ingest or repair left behind.

    Attributes:
        kind: ``draft`` is a version that was never finished, ``journal`` what an ingest notes about its progress,
            ``file`` one that was being written, ``upload`` one that was being sent to an object store.
        path: The folder or file, below the store's root.
        files: The files it is made of, sorted; none of an upload.
        bytes: Their size; 0 of an upload, as object stores do not tell it.
        modified: When it last changed.
        upload: The upload, where it is one.
    """

    kind: Kind
    path: str
    files: tuple[str, ...]
    bytes: int
    modified: datetime
    upload: Upload | None = None


def leftovers(store: Store, name: str | None = None, *, older_than_hours: float) -> tuple[Leftover, ...]:
    """Find what broken-off ingests and repairs left, of one dataset or of all.

    Parameters
    ----------
    store : Store
        Where to look. Files that are not named as a dataset's are left out.
    name : str, optional
        Only this dataset.
    older_than_hours : float
        Only what has not changed for as long as this; of a draft, none of its files.

    Raises
    ------
    InvalidInputError
        When the name or the number of hours is impossible.
    StoreError
        When the store cannot be read, or a manifest in it is damaged: what is needed is then not known.
    """
    if not (math.isfinite(older_than_hours) and older_than_hours >= 0):
        raise InvalidInputError(f"older_than_hours is {older_than_hours}; give a number of hours, at least 0")
    names = [name] if name is not None else possible_names(store.location)
    before = datetime.now(UTC) - timedelta(hours=older_than_hours)
    found = [leftover for name in names for leftover in _of_dataset(store, validate_dataset_name(name))]
    return tuple(leftover for leftover in found if leftover.modified < before)


def remove(store: Store, found: Sequence[Leftover]) -> tuple[Leftover, ...]:
    """Remove leftovers; returns those removed, without what an ingest took up again since it was found."""
    return tuple(leftover for leftover in found if _remove(store, leftover))


def _of_dataset(store: Store, name: str) -> Iterator[Leftover]:
    own, versions = _sorted_out(store.location.files(name))
    uploads = store.location.unfinished_uploads(name)
    manifest = store.manifest(name)  # after the listing: what was finished in between is no draft
    finished = manifest.versions if manifest else {}
    yield from _half_written(own)
    for version, files in sorted(versions.items()):
        journal = [file for file in files if file.path.startswith(f"{name}/{version}/{JOURNAL}/")]
        if version in finished:
            yield from _half_written(files)
            if journal:
                yield _leftover("journal", f"{name}/{version}/{JOURNAL}", journal)
        elif journal:  # without one it is nothing that an ingest of ours made
            yield _leftover("draft", f"{name}/{version}", files)
    for upload in uploads:
        if VERSION_NAME.fullmatch(upload.path.split("/")[1]) or upload.path == f"{name}/{MANIFEST}":
            yield Leftover("upload", upload.path, (), 0, upload.started, upload)


def _sorted_out(files: Sequence[FileEntry]) -> tuple[list[FileEntry], dict[str, list[FileEntry]]]:
    """Tell a dataset's own files from those in its versions' folders, and leave out what is neither."""
    own, versions = list[FileEntry](), defaultdict[str, list[FileEntry]](list)
    for file in files:
        parts = file.path.split("/")
        if len(parts) == 2:
            own.append(file)
        elif VERSION_NAME.fullmatch(parts[1]):
            versions[parts[1]].append(file)
    return own, versions


def _half_written(files: Sequence[FileEntry]) -> Iterator[Leftover]:
    for file in files:
        name = file.path.rsplit("/", 1)[-1]
        if name.startswith(".") and name.endswith(UNFINISHED):
            yield _leftover("file", file.path, [file])


def _leftover(kind: Kind, path: str, files: Sequence[FileEntry]) -> Leftover:
    paths = tuple(file.path for file in files)
    return Leftover(kind, path, paths, sum(file.bytes for file in files), max(file.modified for file in files))


def _remove(store: Store, leftover: Leftover) -> bool:
    location = store.location
    if leftover.upload is not None:
        location.abort_upload(leftover.upload)
        return True
    if leftover.kind == "draft":
        if not _taken_from_ingests(store, leftover):
            return False
        for path in leftover.files:  # sorted: the journal goes last, so that a clean that is broken off can go on
            location.remove(path)
    location.remove(leftover.path)
    location.remove_empty_folder(leftover.path.split("/")[0])
    return True


def _taken_from_ingests(store: Store, draft: Leftover) -> bool:
    """Rule out that an ingest goes on with a draft; False where one has done so since the draft was found."""
    name, version = draft.path.split("/")
    note = f"{draft.path}/{DRAFT}"
    found = store.location.read_tagged(note)
    newest = max((file.modified for file in store.location.files(draft.path)), default=draft.modified)
    manifest = store.manifest(name)
    if newest > draft.modified or (manifest is not None and version in manifest.versions):
        return False
    try:  # an ingest changes this file before it goes on or commits, and gives up when another has changed it
        store.location.write_if_unchanged(note, b"{}\n", found[1] if found else None)
    except StoreChangedError:
        return False
    return True
