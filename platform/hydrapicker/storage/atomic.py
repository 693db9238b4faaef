"""Writing a file so that nobody ever sees half of it."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hydrapicker.errors import HydraPickerError

__all__ = ["OutputError", "atomic_write"]


class OutputError(HydraPickerError, OSError):
    """A file that cannot be written: a full or read-only disk, a missing permission."""


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to, and put it in place when the block succeeds.

    The temporary name is hidden and keeps the suffix of ``path`` (some writers choose the format by it). Folders
    above ``path`` are made. The file is on the disk (fsync) before it gets its name. When the block fails, in any
    way, the temporary file is removed and an older ``path`` stays as it was.

    Parameters
    ----------
    path : str or Path
        Where the file shall be.

    Yields
    ------
    Path
        Where to write it.

    Raises
    ------
    OutputError
        For every OSError on the way, in one line that names ``path``.
    """
    path = Path(path)
    temporary = path.parent / f".hydrapicker-{secrets.token_hex(6)}.part{path.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _to_disk(temporary)
        temporary.replace(path)
        _to_disk(path.parent)
    except HydraPickerError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{path}: cannot be written ({reason}); free some space or choose a folder you may write to"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
