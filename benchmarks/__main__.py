"""``python -m benchmarks``: the cost of the hop, beside direct Django."""

import sys

from benchmarks.hop import main

sys.exit(main())
