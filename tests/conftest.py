"""What all tests share: tests/records.py is importable from every directory below."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
