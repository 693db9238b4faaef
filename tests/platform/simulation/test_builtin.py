"""Builtin assemblies: symmetric, different, of the density of protein."""

import numpy as np
import pytest

from hydrapicker.simulation.builtin import build, builtin_names
from hydrapicker.simulation.potential import potential_volume
from hydrapicker.simulation.source import load_structure
from hydrapicker.simulation.structure import StructureError, diameter_angstrom
from hydrapicker.simulation.symmetry import Rotations, cyclic, dihedral, octahedral, tetrahedral


@pytest.mark.parametrize(
    ("group", "order"), [(cyclic(8), 8), (dihedral(7), 14), (tetrahedral(), 12), (octahedral(), 24)]
)
def test_groups_have_their_order_and_are_closed(group: Rotations, order: int) -> None:
    assert len(group) == order
    products = np.einsum("aij,bjk->abik", group, group).reshape(-1, 9)
    known = {tuple(row) for row in (np.round(group.reshape(-1, 9), 4) + 0.0).tolist()}
    assert {tuple(row) for row in (np.round(products, 4) + 0.0).tolist()} == known
    np.testing.assert_allclose(np.linalg.det(group), 1)


@pytest.mark.parametrize(
    ("name", "group"),
    [("barrel", dihedral(7)), ("ring", cyclic(8)), ("shell", octahedral()), ("tetrahedron", tetrahedral())],
)
def test_assembly_is_symmetric(name: str, group: Rotations) -> None:
    atoms = build(name).positions_angstrom
    # Compared as sorted distances to a fixed point off every axis: equal sets of atoms give equal lists.
    point = np.array([31.0, 17.0, 5.0])
    before = np.sort(np.linalg.norm(atoms - point, axis=1))
    for rotation in group[1:4]:
        after = np.sort(np.linalg.norm(atoms @ rotation.T - point, axis=1))
        np.testing.assert_allclose(after, before, atol=0.02)


def test_all_are_built_the_same_twice_and_differ_in_size_and_mass() -> None:
    names = builtin_names()
    assert len(names) >= 6
    built = [build(name) for name in names]
    np.testing.assert_array_equal(built[0].positions_angstrom, build(names[0]).positions_angstrom)
    seen = [(diameter_angstrom(each), len(each.atomic_numbers)) for each in built]
    for index, (diameter, atoms) in enumerate(seen):
        for other_diameter, other_atoms in seen[:index]:
            assert abs(diameter / other_diameter - 1) > 0.03 or abs(atoms / other_atoms - 1) > 0.1
    assert min(diameter for diameter, _ in seen) < 90
    assert max(diameter for diameter, _ in seen) > 220


@pytest.mark.parametrize("name", builtin_names())
def test_density_is_that_of_protein(name: str) -> None:
    """About 3 V above ice inside: neither hollow nor filled twice where subunits meet."""
    volume = potential_volume(build(name), 8.0, 48)
    inside = volume[volume > 1.5]
    assert np.median(inside) == pytest.approx(3.1, abs=0.6)
    assert np.percentile(inside, 99) < 5.5


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(StructureError, match="did you mean barrel"):
        load_structure("builtin:barell")
    with pytest.raises(StructureError, match="use one of barrel, "):
        load_structure("builtin:qqq")
