"""The search for the weight of the bias loss: which one makes the generic head pick best what nobody has labelled."""
