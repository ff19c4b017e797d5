"""The tests beside this file run in the guests, those in host/ on the host: neither is of use in the other's
place. Those in stress/ run on one kernel, and test_package.py where the guest has isotrace's package."""

import os

KERNEL = os.environ.get("ISOTRACE_VM_KERNEL")
STRESSED = os.environ.get("ISOTRACE_STRESS_KERNEL", "6.12")

collect_ignore_glob = ["host/*"] if KERNEL else ["test_*.py"]
if "ISOTRACE_VM_PACKAGE" not in os.environ:
    collect_ignore_glob.append("test_package.py")
if KERNEL != STRESSED:
    collect_ignore_glob.append("stress/*")
