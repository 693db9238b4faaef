"""Picking: a head, micrographs in, picks out."""
