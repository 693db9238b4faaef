"""HydraPicker: particle picking for cryo-EM."""
