"""The dataset store: named, versioned, checksummed sets of prepared micrographs with their particles.

``location`` reaches any fsspec URL, ``layout`` and ``index`` say what lies there, ``store`` reads, ``ingest`` writes,
``splits`` and ``survey`` decide, ``describe`` reports. Import from those modules; this one holds nothing, so that
importing it costs nothing.
"""
