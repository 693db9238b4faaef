#!/usr/bin/env python3
"""The collection of simulated datasets: ``hydrapicker collection`` as a Ray job."""

import sys

from hydrapicker.cli import run

if __name__ == "__main__":
    sys.exit(run("collection"))
