#!/usr/bin/env python3
"""Search for the best weight of the bias loss: ``hydrapicker tune`` as a Ray job."""

import sys

from hydrapicker.cli import run

if __name__ == "__main__":
    sys.exit(run("tune"))
