"""Picks looked at: a report of one file, and the choice made in it applied."""
