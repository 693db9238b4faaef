"""What a draft's journal says of a finished shard, with a checksum: its rows become the index of a version.

A line with the sha256 of all that follows; a line of JSON, why which micrographs were left out; the rows, as an index.
"""

import hashlib
import json

from hydrapicker.store.index import IndexMeta, index_from_bytes, index_to_bytes, rows_of
from hydrapicker.store.shards import WrittenShard

__all__ = ["note_of", "shard_noted"]


def note_of(shard: WrittenShard, meta: IndexMeta) -> bytes:
    """Note what a finished shard holds."""
    said = json.dumps(dict(shard.unusable)).encode() + b"\n" + index_to_bytes(shard.rows, meta)
    return hashlib.sha256(said).hexdigest().encode() + b"\n" + said


def shard_noted(note: bytes, where: str) -> WrittenShard | None:
    """Read a note; None where it is not as it was written. ``where`` names the file in errors."""
    digest, _, said = note.partition(b"\n")
    if digest != hashlib.sha256(said).hexdigest().encode():
        return None
    unusable, _, index = said.partition(b"\n")
    return WrittenShard(rows_of(index_from_bytes(index, where)[0]), json.loads(unusable))
