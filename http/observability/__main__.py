"""`python -m observability` is the command `observability`."""

import sys

from observability.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
