"""`python -m dpvp` is `dpvp`."""

import sys

from dpvp.cli import main

sys.exit(main())
