"""`python -m lakehouse` is the same program as `lakehouse`."""

import sys

from lakehouse.cli import main

sys.exit(main())
