"""What all tests share: tests/records.py is importable from every directory below, and Ctrl-C means Ctrl-C.

Where the tests run in the background SIGINT may be ignored, and every program that they start would inherit that.
"""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
signal.signal(signal.SIGINT, signal.default_int_handler)
