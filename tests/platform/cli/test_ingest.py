"""What ``hydrapicker ingest`` says of what it left out, and how it appends."""

from collections.abc import Callable
from pathlib import Path

import numpy as np


def test_what_was_left_out_is_named_and_much_of_it_counted(lab: Path, ingest: Callable, write: Callable) -> None:
    for number in range(23):
        write(lab / "mics" / f"empty{number:02d}.mrc", np.random.default_rng(number).normal(size=(90, 120)))
    lines = ingest().out.splitlines()
    left_out = [line for line in lines if line.startswith("left out")]
    assert left_out[0] == "left out, as no particle is known on it: mics/empty00.mrc"
    assert left_out[-1] == "left out, as no particle is known on it: and 3 more"
    assert len(left_out) == 21


def test_appending_says_what_was_there_already(
    lab: Path, ingest: Callable, hydrapicker: Callable, write: Callable
) -> None:
    ingest()
    write(lab / "mics" / "d.mrc", np.random.default_rng(9).normal(size=(90, 120)))
    with (lab / "particles.star").open("a") as star:
        star.write("mics/d.mrc 50 40\n")
    given = ("toy", "--micrographs", "mics/*.mrc", "--particles", "particles.star", "--diameter-angstrom", "24")
    out = hydrapicker("ingest", *given, "--append").out
    assert "toy v0002 stored: 2 train (5 particles), 1 val (4 particles), 1 test (4 particles)" in out
    assert out.count("left out, as it is already in the dataset: mics/") == 3
    refused = hydrapicker("ingest", *given[:-1], "30", "--append").refusal()
    assert "cannot append to toy v0002: diameter_angstrom is 24.0 there and 30.0 here" in refused
    assert "name is generic" in hydrapicker("ingest", "generic", *given[1:]).refusal()


def test_unusable_micrographs_are_told_in_one_line_and_left_out_on_request(
    lab: Path, hydrapicker: Callable, write: Callable
) -> None:
    noise = {name: np.random.default_rng(ord(name)).normal(size=(90, 120)) for name in "fg"}
    for name, image in {"d": np.full((90, 120), 7), "e": np.full((90, 120), 8), **noise}.items():
        write(lab / "mics" / f"{name}.mrc", image)
        with (lab / "particles.star").open("a") as star:
            star.write(f"mics/{name}.mrc 50 40\n")
    given = ("ingest", "toy", "--micrographs", "mics", "--particles", "particles.star", "--diameter-angstrom", "24")
    ended = hydrapicker(*given)
    progress, refused = ended.err.splitlines()
    assert (ended.code, progress) == (1, "ingest 7/7 ingesting toy")
    assert "2 of 7 micrographs cannot be used (mics/d.mrc: every pixel is 7; mics/e.mrc: every pixel is 8)" in refused
    assert "give --skip-unusable" in refused
    out = hydrapicker(*given, "--skip-unusable").out
    assert "toy v0001 stored: " in out
    assert "left out, as every pixel is 7: mics/d.mrc\nleft out, as every pixel is 8: mics/e.mrc\n" in out
