"""The tests beside this file run in the guests, those in host/ on the host: neither is of use in the other's
place."""

import os

collect_ignore_glob = ["host/*"] if "ISOTRACE_VM_KERNEL" in os.environ else ["test_*.py"]
