"""`python -m observability.http` is the command `observability`."""

import sys

from observability.http.cli import main

if __name__ == "__main__":
    sys.exit(main())
