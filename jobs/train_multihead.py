#!/usr/bin/env python3
"""Train trunk, generic head and a head per dataset: ``hydrapicker train`` as a Ray job."""

import sys

from hydrapicker.cli import run

if __name__ == "__main__":
    sys.exit(run("train"))
