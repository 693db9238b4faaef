"""Atoms from files: assembly built, waters and hydrogens gone, errors in one line."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from hydrapicker.simulation.source import load_structure
from hydrapicker.simulation.structure import Structure, StructureError, diameter_angstrom, read_structure

_PDB = """\
ATOM      1  CA  ALA A   1      10.000   0.000   0.000  1.00 10.00           C
ATOM      2  O   ALA A   1      14.000   3.000   0.000  1.00 10.00           O
ATOM      3  HA  ALA A   1      99.000   0.000   0.000  1.00 10.00           H
HETATM    4  O   HOH A   2      -50.000  0.000   0.000  1.00 10.00           O
END
"""
_TWICE = """\
REMARK 350 BIOMOLECULE: 1
REMARK 350 APPLY THE FOLLOWING TO CHAINS: A
REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000
REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000
REMARK 350   BIOMT1   2 -1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT2   2  0.000000 -1.000000  0.000000        0.00000
REMARK 350   BIOMT3   2  0.000000  0.000000  1.000000        0.00000
"""


def test_waters_and_hydrogens_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.pdb").write_text(_PDB)
    structure = read_structure(tmp_path / "a.pdb")
    assert structure.atomic_numbers.tolist() == [6, 8]
    assert diameter_angstrom(structure) == pytest.approx(5.0, abs=1e-4)
    centre = structure.atomic_numbers @ structure.positions_angstrom
    np.testing.assert_allclose(centre, 0, atol=1e-4)


def test_assembly_is_built_also_from_gzip(tmp_path: Path) -> None:
    (tmp_path / "a.pdb.gz").write_bytes(gzip.compress((_TWICE + _PDB).encode()))
    structure = read_structure(tmp_path / "a.pdb.gz")
    assert len(structure.atomic_numbers) == 4
    assert diameter_angstrom(structure) == pytest.approx(2 * np.hypot(14, 3), abs=1e-3)


def test_rubisco_is_built_from_its_remarks(structures: Path) -> None:
    path = structures / "1bxn_rubisco.pdb.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    heavy = [
        line
        for line in text.splitlines()
        if line.startswith(("ATOM", "HETATM")) and line[17:20] != "HOH" and line[76:78].strip() != "H"
    ]
    assert all(line[16] in " A" for line in heavy)  # else alternative conformations would have to be counted
    copies = len(re.findall(r"REMARK 350   BIOMT1", text))
    assert copies > 1
    assert len(read_structure(path).atomic_numbers) == copies * len(heavy)


def test_hemoglobin_has_its_mass_and_size(structures: Path) -> None:
    structure = read_structure(structures / "4hhb_hemoglobin.cif.gz")
    weights = {6: 12.011, 7: 14.007, 8: 15.999, 15: 30.974, 16: 32.06, 26: 55.845}
    heavy = sum(weights[number] for number in structure.atomic_numbers.tolist())
    # 64.7 kDa, of which hydrogens are 7 %.
    assert heavy == pytest.approx(0.93 * 64_700, rel=0.02)
    some = structure.positions_angstrom.astype(np.float64)
    distances = max(float(np.linalg.norm(some - atom, axis=1).max()) for atom in some)
    assert diameter_angstrom(structure) == pytest.approx(distances, rel=1e-3)
    assert 60 < distances < 75  # 64 x 55 x 50 Angstrom (Perutz), from corner to corner


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.pdb", None, "not a file"),
        ("text.pdb", b"hello\n", "no atoms"),
        ("text.cif", b"hello\n", "cannot be read"),
        ("empty.cif", b"", "(no atoms|cannot be read)"),
        ("water.pdb", _PDB.splitlines()[3].encode(), "no atoms"),
        ("cut.pdb.gz", gzip.compress(_PDB.encode())[:40], "incomplete"),
        ("not.pdb.gz", b"hello", "damaged"),
        ("bytes.pdb", bytes(range(256)), "(no atoms|cannot be read)"),
        ("odd.xyz", b"1 2 3", "cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_files_are_named_in_one_line(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(StructureError, match=said) as raised:
        load_structure(str(tmp_path / name))
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_no_atoms_and_no_numbers_are_refused() -> None:
    with pytest.raises(StructureError, match="no atoms"):
        Structure.centred(np.zeros((0, 3)), np.zeros(0, np.uint8))
    with pytest.raises(StructureError, match="not a number"):
        Structure(np.full((1, 3), np.nan, np.float32), np.array([6], np.uint8))


def test_chosen_chains_are_taken_as_they_lie_in_the_file(tmp_path: Path) -> None:
    atoms = [
        f"ATOM  {number:5d}  CA  ALA {chain}{number:4d}    {x:8.3f}{0:8.3f}{0:8.3f}  1.00  0.00           C"
        for number, (chain, x) in enumerate([("A", 0), ("A", 2), ("B", 10), ("C", 20)], start=1)
    ]
    path = tmp_path / "three.pdb"
    path.write_text("\n".join([*atoms, "END"]) + "\n")
    assert len(read_structure(path).atomic_numbers) == 4
    two = read_structure(path, ["A", "C"])
    assert sorted((two.positions_angstrom[:, 0] - two.positions_angstrom[:, 0].min()).tolist()) == [0, 2, 20]
    with pytest.raises(StructureError, match=r"three.pdb has no chain Q, R: it has A, B, C"):
        read_structure(path, ["Q", "A", "R"])
    with pytest.raises(StructureError, match="builtin:ring has no chains to choose from"):
        load_structure("builtin:ring", ["A"])
