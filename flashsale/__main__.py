"""`python -m flashsale …`, the same as the command `flashsale`."""

import sys

from flashsale.cli import main

if __name__ == "__main__":
    sys.exit(main())
