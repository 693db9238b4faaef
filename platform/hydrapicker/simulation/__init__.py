"""Simulated micrographs: an atomic structure in, a folder as a laboratory would have it out.

Settings are in :mod:`hydrapicker.simulation.config`, the work is done by :mod:`hydrapicker.simulation.dataset`
(which loads torch, and is therefore imported only when something is to be simulated).
"""
