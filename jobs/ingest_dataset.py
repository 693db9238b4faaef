#!/usr/bin/env python3
"""Put micrographs and their particles into the dataset store: ``hydrapicker ingest`` as a Ray job."""

import sys

from hydrapicker.cli import run

if __name__ == "__main__":
    sys.exit(run("ingest"))
