"""Streaming: batches in an order that is a pure function of fingerprints, seed and epoch.

``plan`` decides the order, without torch or files; ``loader`` reads it ahead. Import from those modules.
"""
