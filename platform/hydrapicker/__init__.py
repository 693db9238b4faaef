"""HydraPicker: particle picking for cryo-EM.

>>> from hydrapicker import load_head
>>> picks = load_head("PDB-4hhb").pick("micrograph.mrc")
>>> picks.x, picks.y, picks.score
"""

from hydrapicker.sdk import head_history, list_heads, load_head

__all__ = ["head_history", "list_heads", "load_head"]
