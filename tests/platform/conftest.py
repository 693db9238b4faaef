"""Places of every kind for files to lie in."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest


@pytest.fixture(params=["local", "memory", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store of every kind; whatever is tested with this fixture holds for all of them."""
    if request.param == "local":
        yield str(tmp_path / "store")
    elif request.param == "s3":
        yield f"s3://{request.getfixturevalue('bucket')}/some/prefix"
    else:
        url = f"memory://{uuid4().hex}"
        yield url
        filesystem, path = fsspec.core.url_to_fs(url)
        if filesystem.exists(path):
            filesystem.rm(path, recursive=True)
