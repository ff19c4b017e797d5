#!/bin/sh
# Version 1 of a small package: copies its program to DIRECTORY/bin and makes a folder for what it caches.
# Usage: install.sh DIRECTORY
set -e
from=$(dirname "$0")
mkdir -p "$1/bin" "$1/cache"
cp "$from/greeter/greet" "$1/bin/greet"
chmod 755 "$1/bin/greet"
echo "1.0" >"$1/version"
echo "installed: greeter 1.0"
