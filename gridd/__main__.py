"""``python -m gridd`` is ``gridd``."""

import sys

from gridd.cli import main

if __name__ == "__main__":
    sys.exit(main())
