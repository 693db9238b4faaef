"""Streaming: batches in an order that is a pure function of fingerprints, seed and epoch, whatever the store.

``plan`` decides the order, without torch or files. ``loader`` makes batches of what ``reader`` reads ahead, which
``fetch`` gets from the store (neighbours by one request, as ``merge`` says) or from ``diskcache``, and checks.
``config`` is what a user can choose. Import from those modules.
"""
