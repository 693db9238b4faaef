"""Shared by all tests: shapes are checked at run time in the core."""

from jaxtyping import install_import_hook

install_import_hook("hydrapicker_core", "shape_checker.check")
