"""A version's number, reserved by one file that is changed only conditionally, so that two ingests never share one.

The file says whose draft lies in the version's folder. Another input's draft is left alone. One of the same input is
taken over with all it has finished, and whoever held it before finds out before it can do harm: everything that
cannot be undone (removing the draft, committing it) begins with a conditional write of this file.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from uuid import uuid4

from hydrapicker.errors import StoreChangedError, StoreError
from hydrapicker.storage.location import Location
from hydrapicker.store.layout import JOURNAL, VERSION_NAME, Manifest, version_name
from hydrapicker.store.manifest import read_manifest

__all__ = ["DRAFT", "Reservation", "reserve"]

DRAFT = f"{JOURNAL}/draft.json"
"""The file, below the version's folder."""
_ATTEMPTS = 100
_OPEN, _COMMITTING, _DISCARDED = "open", "committing", "discarded"


@dataclass(frozen=True)
class _Note:
    """What the file says: whose draft this is (``token`` is that of the one run that may go on), and how far."""

    identity: str
    created: str
    token: str
    state: str = _OPEN

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "_Note | None":
        try:
            return cls(**json.loads(content))
        except (ValueError, TypeError):
            return None  # not ours to continue


def reserve(location: Location, dataset: str, identity: str) -> "Reservation":
    """Take over the draft of the same input, or reserve the first number above all versions and drafts.

    Parameters
    ----------
    location : Location
        The store.
    dataset : str
        The dataset's name.
    identity : str
        Hash of all that the result depends on.

    Raises
    ------
    StoreError
        When the store cannot be written.
    """
    for _ in range(_ATTEMPTS):  # each that fails is one in which another ingest got on
        manifest, _ = read_manifest(location, dataset)
        try:
            version, note, joined = _take(location, dataset, identity, manifest)
        except StoreChangedError:
            continue
        manifest, _ = read_manifest(location, dataset)
        for committed in {manifest.current, version} & set(manifest.versions):
            # By an ingest that ended before it could clean up, or while we took its draft.
            with suppress(StoreError):  # else `datasets --clean` does it
                location.remove(f"{dataset}/{committed}/{JOURNAL}")
        if version not in manifest.versions:
            return Reservation(location, dataset, version, note, joined)
    raise StoreError(
        f"{location.url(dataset)}: other ingests go on changing this dataset; run the same command again later"
    )


def _take(location: Location, dataset: str, identity: str, manifest: Manifest) -> tuple[str, _Note, bool]:
    # By their files, as some object stores go on listing a folder for a while when all in it is removed.
    parents = {entry.path.split("/")[1] for entry in location.files(dataset)}
    folders = {name for name in parents if VERSION_NAME.fullmatch(name)}
    ours = _Note(identity, datetime.now(UTC).isoformat(timespec="seconds"), uuid4().hex)
    for version in sorted(folders - set(manifest.versions)):
        found = location.read_tagged(f"{dataset}/{version}/{DRAFT}")
        note = _Note.from_bytes(found[0]) if found else None
        if found and note and note.identity == identity and note.state != _DISCARDED:
            ours = replace(ours, created=note.created, state=note.state)
            location.write_if_unchanged(f"{dataset}/{version}/{DRAFT}", ours.to_bytes(), found[1])
            return version, ours, True
    numbers = [int(name[1:]) for name in folders | set(manifest.versions)]
    version = version_name(1 + max(numbers, default=0))
    location.write_if_unchanged(f"{dataset}/{version}/{DRAFT}", ours.to_bytes(), None)
    return version, ours, False


class Reservation:
    """The right to write one version's folder, until another run of the same input takes it over.

    Made by :func:`reserve`. ``version`` is its name; ``joined`` tells whether an earlier run had begun it.
    """

    def __init__(self, location: Location, dataset: str, version: str, note: _Note, joined: bool) -> None:
        self._location, self._note, self._dataset = location, note, dataset
        self._path = f"{dataset}/{version}/{DRAFT}"
        self.version, self.joined = version, joined

    def check(self) -> None:
        """Make sure that it is still ours.

        Raises
        ------
        StoreError
            When another run of the same input has taken the draft over.
        """
        self._tag()

    def begin_commit(self) -> None:
        """Rule out that anyone removes the draft from now on.

        Raises
        ------
        StoreError
            When another run of the same input has taken the draft over.
        """
        self._change(_COMMITTING)

    def give_up(self) -> bool:
        """Rule out that anyone continues the draft; False when it is not ours to remove."""
        if self._note.state != _OPEN:
            return False
        try:
            self._change(_DISCARDED)
        except StoreChangedError:
            return False
        return True

    def _change(self, state: str) -> None:
        note = replace(self._note, state=state)
        try:
            self._location.write_if_unchanged(self._path, note.to_bytes(), self._tag())
        except StoreChangedError as error:
            raise self._taken_over() from error
        self._note = note

    def _tag(self) -> str:
        found = self._location.read_tagged(self._path)
        if found is None or _Note.from_bytes(found[0]) != self._note:
            raise self._taken_over()
        return found[1]

    def _taken_over(self) -> StoreChangedError:
        return StoreChangedError(
            f"{self._location.url(self._dataset)}: the same ingest was started once more and has taken over what "
            f"this one had stored of {self.version}; let it end"
        )
