"""What names and aliases last stood for, remembered beside the cached packages, for loading without any network."""

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from hydrapicker_registry.cache import cache_folder
from hydrapicker_registry.versions import SHIPPED, HeadVersion


def remember(tracking_uri: str, choice: str | int, found: HeadVersion) -> None:
    """Remember which version a dataset's alias or version number stood for; a cache that is read-only is left alone."""
    text = json.dumps(asdict(found), default=str)
    for selector in {choice, found.version} - {SHIPPED}:
        path = _file(tracking_uri, found.dataset, selector)
        with contextlib.suppress(OSError):
            if path.is_file() and path.read_text() == text:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=".")
            with os.fdopen(handle, "w") as file:
                file.write(text)
            Path(scratch).chmod(0o644)  # colleagues may share the cache
            Path(scratch).replace(path)


def recall(tracking_uri: str, dataset: str, choice: str | int) -> HeadVersion | None:
    """Return what a dataset's alias or version number last stood for on this machine, None when that is not known."""
    try:
        said = json.loads(_file(tracking_uri, dataset, choice).read_text())
        said |= {"aliases": tuple(said["aliases"]), "registered": datetime.fromisoformat(said["registered"])}
        return HeadVersion(**said)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # never asked for, or written by another release


def _file(tracking_uri: str, dataset: str, choice: str | int) -> Path:
    # a checksum, for an address may hold a password
    registry = hashlib.sha256(tracking_uri.encode()).hexdigest()[:16]
    return cache_folder() / "resolved" / registry / f"{dataset}@{choice}.json"
