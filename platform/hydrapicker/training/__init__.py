"""Training of the multi-head network, and of one more head on a trained trunk."""
