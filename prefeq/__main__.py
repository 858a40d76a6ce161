"""``python -m prefeq`` is the command line."""

import sys

from prefeq.cli import main

sys.exit(main())
