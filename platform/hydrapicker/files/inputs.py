"""What an ingest is given, wherever it lies: micrographs and particle files, local or at URLs."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from hydrapicker.errors import InvalidInputError, ParticlesError
from hydrapicker.files.coordinates import Particles
from hydrapicker.files.micrographs import (
    MICROGRAPH_SUFFIXES,
    MicrographHeader,
    find_micrographs,
    is_tiff,
    read_header,
)
from hydrapicker.files.particles import PARTICLE_SUFFIXES, read_particles
from hydrapicker.files.remote import Listings, RemoteFile, brought_here, find_remote, is_one_file, is_url

__all__ = ["find_inputs", "read_input_header", "read_input_particles"]

_LOOKED_UP_AT_ONCE = 32
_HEADER_BYTES = 4096
_COMPRESSED_HEADER_BYTES = 2**20  # bzip2 gives nothing before its first block, of up to 900 kB
_COMPRESSED = (".gz", ".bz2")


def find_inputs(patterns: Sequence[str | Path]) -> tuple[Path | RemoteFile, ...]:
    """List every micrograph that the patterns name, each once, local ones first.

    Parameters
    ----------
    patterns : sequence of str or Path
        As in :func:`~hydrapicker.files.micrographs.find_micrographs`, or URLs of files, folders and globs.

    Raises
    ------
    InvalidInputError
        No pattern at all, or one that matches no micrograph.
    StoreError
        When a URL's place does not answer, is not there or is not open to us.
    """
    urls = [str(pattern) for pattern in patterns if is_url(pattern)]
    local = [pattern for pattern in patterns if not is_url(pattern)]
    found = {file for files in _found_at(urls) for file in files}
    return (*(find_micrographs(local) if local or not urls else ()), *sorted(found))


def _found_at(urls: Sequence[str]) -> list[tuple[RemoteFile, ...]]:
    """Find the micrographs of every URL: single ones are looked up many at a time, and no folder is listed twice."""
    exact = [url for url in urls if is_one_file(url, MICROGRAPH_SUFFIXES)]
    with ThreadPoolExecutor(_LOOKED_UP_AT_ONCE) as pool:
        files = dict(zip(exact, pool.map(lambda url: find_remote(url, MICROGRAPH_SUFFIXES), exact), strict=True))
    listings: Listings = {}
    for url in urls:
        if url not in files:
            files[url] = find_remote(url, MICROGRAPH_SUFFIXES, listings)
        if not files[url]:
            raise InvalidInputError(f"{url}: no micrographs there; they end in {', '.join(MICROGRAPH_SUFFIXES)}")
    return list(files.values())


def read_input_header(file: Path | RemoteFile) -> MicrographHeader:
    """Read size and pixel size; of a remote MRC only its first bytes are fetched.

    Raises
    ------
    MicrographError
        As :func:`~hydrapicker.files.micrographs.read_header`.
    StoreError
        When a remote file cannot be fetched.
    """
    if isinstance(file, Path):
        return read_header(file)
    compressed = file.name.lower().endswith(_COMPRESSED)
    first = None if is_tiff(file.name) else _COMPRESSED_HEADER_BYTES if compressed else _HEADER_BYTES
    with brought_here([file], first) as folder:
        return replace(read_header(folder / file.name), path=file)


def read_input_particles(address: str) -> dict[str, Particles]:
    """Read particles by micrograph from a file, a folder or a glob, local or at a URL.

    Raises
    ------
    ParticlesError
        As :func:`~hydrapicker.files.particles.read_particles`.
    StoreError
        When a remote file cannot be fetched.
    """
    if not is_url(address):
        return read_particles(address)
    files = find_remote(address, PARTICLE_SUFFIXES)
    if not files:
        raise ParticlesError(f"{address}: no particle files there; they end in {', '.join(PARTICLE_SUFFIXES)}")
    with brought_here(files) as folder:
        return read_particles(folder / files[0].name if len(files) == 1 else folder)
