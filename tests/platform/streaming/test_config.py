"""What streaming can be told, and what is refused."""

import pytest

from hydrapicker.errors import InvalidInputError
from hydrapicker.streaming.config import StreamingConfig


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ({"sampling": "fair"}, "give proportional, balanced"),
        ({"sampling": 0.5}, "give 1 for proportional"),
        ({"sampling": float("inf")}, "balanced"),
        ({"shuffle_window": 0}, "give 4096"),
        ({"connections": 0}, "give 8"),
        ({"buffer_megabytes": 0}, "give 256"),
        ({"cache_gigabytes": float("nan")}, "give 50"),
        ({"retry_seconds": -1}, "give 60"),
        ({"cache": ""}, "give a folder"),
    ],
)
def test_nonsense_is_refused_with_the_remedy(wrong, remedy):
    with pytest.raises(InvalidInputError, match=remedy):
        StreamingConfig(**wrong)


def test_a_cache_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert StreamingConfig(cache="kept").from_any_folder().cache == str(tmp_path / "kept")
    assert StreamingConfig(cache="~/kept").from_any_folder().cache == "/home/someone/kept"
    assert StreamingConfig(cache="/kept").from_any_folder() == StreamingConfig(cache="/kept")
    assert StreamingConfig().from_any_folder().cache is None
