"""Shared by all tests: shapes are checked at run time in the core; a real S3 server is there for who asks."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import hypothesis
import pytest
from jaxtyping import install_import_hook
from s3_server import S3Server, s3_server

if "PYTEST_XDIST_WORKER" in os.environ:  # read when torch is imported; or every process would want all cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

install_import_hook("hydrapicker_core", "shape_checker.check")

# A busy machine is no fault of the code's.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


_SHARING_A_LAB = ("test_contribute.py", "test_end_to_end.py", "test_kills.py")
"""Files whose tests share a finished training."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what shares fixtures in one process, where several run the tests."""
    for item in items:
        path = Path(item.path)
        item.add_marker(pytest.mark.xdist_group("lab" if path.name in _SHARING_A_LAB else str(path)))


@pytest.fixture(scope="session")
def running_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The one S3 server of a test session."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(running_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The S3 server, with the AWS variables of this process leading to it."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in running_s3.environment.items():
        monkeypatch.setenv(name, value)
    return running_s3


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """The name of an empty bucket of this test's own."""
    import boto3

    name = f"test-{uuid4().hex[:16]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name
