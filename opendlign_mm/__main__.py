"""``python -m opendlign_mm``: the command ``opendlign``."""
import sys

from .command_line.main import main

sys.exit(main())
