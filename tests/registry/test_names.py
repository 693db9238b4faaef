import pytest

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_registry.names import head_model_name, nearest, parse_head_reference, validate_dataset_name


@pytest.mark.parametrize("name", ["a", "PDB-6b7n", "EMPIAR_10146.v2", "0" * 64, "generic"])
def test_names_of_datasets_are_allowed(name: str) -> None:
    assert validate_dataset_name(name) == name
    assert head_model_name(name) == "hydrapicker.head." + name


BAD_NAMES = ["", "a/b", "..", "a..b", ".a", "-a", "a b", "a\n", "0" * 65, "é", "a@b", "a'b", "a%b", "a\\b"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="not allowed"):
        validate_dataset_name(name)


def test_references_split_at_the_alias() -> None:
    assert parse_head_reference("PDB-6b7n") == ("PDB-6b7n", None)
    assert parse_head_reference("PDB-6b7n@challenger") == ("PDB-6b7n", "challenger")
    assert parse_head_reference("PDB-6b7n@3") == ("PDB-6b7n", 3)
    assert parse_head_reference("PDB-6b7n@0") == ("PDB-6b7n", "0"), "no version: an alias that nobody has"


@pytest.mark.parametrize("reference", ["@champion", "a@", "a@b@c", "a@b c", "a/b@champion"])
def test_bad_references_are_refused(reference: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_head_reference(reference)


def test_nearest_names() -> None:
    names = ["PDB-6b7n", "PDB-6b44", "EMPIAR-10146"]
    assert nearest("pdb-6B7N", names)[0] == "PDB-6b7n"
    assert nearest("EMPIAR10146", names) == ("EMPIAR-10146",)
    assert nearest("zzz", names) == ()
    assert nearest("PDB-6b7n", []) == ()
