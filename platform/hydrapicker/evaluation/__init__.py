"""How good heads and picks are."""
