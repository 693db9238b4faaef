"""``python -m hydrapicker`` is the same as ``hydrapicker``."""

import sys

from hydrapicker.cli import main

if __name__ == "__main__":
    sys.exit(main())
