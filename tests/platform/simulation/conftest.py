"""Shared by the tests of the simulation."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def structures() -> Path:
    """Atomic models of the shared data folder; the test is skipped without them."""
    shared = Path(os.environ.get("HYDRAPICKER_SHARED", Path(__file__).parents[4] / "shared"))
    folder = shared / "data" / "structures"
    if not folder.is_dir():
        pytest.skip(f"no atomic models at {folder}: set HYDRAPICKER_SHARED")
    return folder
