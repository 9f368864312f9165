"""The storm of kills and its engine are scripts beside each other; this lets the test import them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
