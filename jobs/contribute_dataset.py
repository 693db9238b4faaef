#!/usr/bin/env python3
"""Train a head for one more dataset on the registered trunk: ``hydrapicker contribute`` as a Ray job."""

import sys

from hydrapicker.cli import run

if __name__ == "__main__":
    sys.exit(run("contribute"))
