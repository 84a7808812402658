"""``python -m wstpserver`` is the program ``wstpserver``."""

import sys

from wstpserver.cli.serve import main

if __name__ == "__main__":
    sys.exit(main())
