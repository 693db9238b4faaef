"""The method of HydraPicker: network, boxes, losses, preprocessing, inference and metrics, on torch and numpy.

Coordinates are float32 ``(n, 2)`` arrays, x (column) then y (row), pixel centres at integers, origin at the first
stored pixel, in pixels of the image at hand.
"""
