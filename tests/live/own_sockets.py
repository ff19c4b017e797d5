"""Sockets in a network namespace where nobody else has any, and a program that lists them."""

import socket
import subprocess
import sys


def main() -> None:
    listening = socket.socket()
    listening.bind(("", 4711))
    listening.listen()
    named, pair, packets = socket.socket(socket.AF_UNIX), socket.socketpair(), socket.socket(socket.AF_PACKET)
    named.bind("\0isotrace-own-sockets")
    subprocess.run(sys.argv[1:], check=False)
    for one in (listening, named, *pair, packets):
        one.close()


if __name__ == "__main__":
    main()
