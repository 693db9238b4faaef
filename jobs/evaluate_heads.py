#!/usr/bin/env python3
"""The paper's tables from a registry and a store: ``hydrapicker heads evaluate`` as a Ray job."""

import sys

from hydrapicker.cli import run

if __name__ == "__main__":
    sys.exit(run("heads", ["evaluate", *sys.argv[1:]]))
