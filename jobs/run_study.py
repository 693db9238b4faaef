#!/usr/bin/env python3
"""The paper's study: ``hydrapicker study`` as a Ray job."""

import sys

from hydrapicker.cli import run

if __name__ == "__main__":
    sys.exit(run("study"))
