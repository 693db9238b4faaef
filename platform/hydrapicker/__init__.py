"""HydraPicker: particle picking for cryo-EM.

>>> from hydrapicker import load_head
>>> picks = load_head("PDB-4hhb").pick("micrograph.mrc")
>>> picks.x, picks.y, picks.score
"""

from hydrapicker.sdk import list_heads, load_head

__all__ = ["list_heads", "load_head"]
