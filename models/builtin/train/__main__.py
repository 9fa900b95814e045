"""`python -m tilewright.models.builtin.train`: see `main`."""

from __future__ import annotations

import sys

from tilewright.models.builtin.train.main import main

sys.exit(main(sys.argv[1:]))
