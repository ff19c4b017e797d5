#!/usr/bin/python3 -P
"""isotrace of the distribution's package: what it is made of is in a directory of its own."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "lib/isotrace"))

from isotrace.__main__ import main

main()
