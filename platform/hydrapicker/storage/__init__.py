"""Storage: where files lie, be it a folder, S3, or any other filesystem that fsspec knows.

``location`` reads and writes whole files, through ``disk``, ``s3`` or ``others``, each of them what ``backend`` asks
for; ``open_ranges`` reads parts of many at once. ``faults`` says what went wrong and ``retry`` what is tried again.
Import from those modules; this one holds nothing, so that importing it costs nothing.
"""
