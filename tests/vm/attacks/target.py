"""The target of a run: starts every attack, has it wait, and lets it go when it is told to. Standard library only.

``python target.py`` reads one line of JSON, a list of attacks as ``runs.Target`` describes them, starts them all and
answers with a line. After that a line ``INDEX SECONDS`` lets one go and is answered with its exit status, or with
``late`` where it had to be killed.
"""

import json
import os
import subprocess
import sys


def start(one):
    rights = {"user": one["user"], "group": one["user"], "extra_groups": []} if one["user"] else {}
    environment = {**os.environ, **({"ATTACK_WAITS": "1"} if one["waits"] else {})}
    with open(one["output"], "wb") as output:
        return subprocess.Popen(
            one["argv"], cwd=one["cwd"], stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment, **rights
        )


def let_go(process, seconds):
    try:
        process.communicate(b"go\n", timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "late"
    return process.returncode


started = [start(one) for one in json.loads(sys.stdin.readline())]
print("started", flush=True)
for line in sys.stdin:
    index, seconds = line.split()
    print(let_go(started[int(index)], float(seconds)), flush=True)
