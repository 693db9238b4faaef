#!/usr/bin/env python3
"""Pick particles on micrographs: ``hydrapicker pick`` as a Ray job."""

import sys

from hydrapicker.cli import run

if __name__ == "__main__":
    sys.exit(run("pick"))
