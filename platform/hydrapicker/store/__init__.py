"""The dataset store: named, versioned, checksummed sets of prepared micrographs with their particles.

``layout`` and ``index`` say what lies at a location, ``store`` reads, ``ingest`` writes,
``splits`` and ``survey`` decide, ``describe`` reports. Import from those modules; this one holds nothing, so that
importing it costs nothing.
"""
