"""ISOTRACE_COMPILER in a guest, which is some twenty times slower than the machine under it: the host compiles.

``python compile.py SOCKET``: passes the request on to guest.py at the socket, which answers with the name of a file.
"""

import shutil
import socket
import sys

if request := sys.stdin.buffer.read():
    with socket.socket(socket.AF_UNIX) as agent:
        agent.connect(sys.argv[1])
        agent.sendall(request)
        agent.shutdown(socket.SHUT_WR)
        name = agent.makefile().read()
    with open(name, "rb") as compiled:
        shutil.copyfileobj(compiled, sys.stdout.buffer)
