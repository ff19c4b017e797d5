"""Who called sudo: a command that isotrace starts is theirs, with their ids, groups and home."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass

from isotrace.errors import UsageError

_MOST = (1 << 32) - 2  # the last number means "no change" to the kernel


@dataclass(frozen=True)
class Caller:
    """A user as passwd describes them; a number that has no name there has the root directory as its home."""

    uid: int
    gid: int
    name: str
    home: str
    shell: str

    def become(self) -> None:
        """Ids and groups of this process, and the variables that tell of them. Raises ``OSError``."""
        try:
            os.initgroups(self.name, self.gid)
        except OSError:
            os.setgroups([self.gid])
        os.setgid(self.gid)
        os.setuid(self.uid)
        os.environ.update(HOME=self.home, USER=self.name, LOGNAME=self.name, SHELL=self.shell)


def caller() -> Caller | None:
    """Who called sudo, None where nobody did. Raises ``UsageError`` where sudo's variables have no numbers."""
    if os.getuid() != 0 or "SUDO_UID" not in os.environ:
        return None
    uid = _number("SUDO_UID")
    try:
        known = pwd.getpwuid(uid)
    except KeyError:
        gid = _number("SUDO_GID")
        return Caller(uid, gid, str(uid), "/", "/bin/sh")
    gid = _number("SUDO_GID") if "SUDO_GID" in os.environ else known.pw_gid
    return Caller(uid, gid, known.pw_name, known.pw_dir or "/", known.pw_shell or "/bin/sh")


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    if text.isascii() and text.isdigit() and int(text) <= _MOST:
        return int(text)
    raise UsageError(
        f"{name} is {text!r}, which is no number of a user or group",
        f"sudo sets it: the command gets those ids; env -u {name} isotrace … runs it as root"
        if name == "SUDO_UID"
        else "sudo sets it: the command gets that group; unset SUDO_UID and SUDO_GID to run it as root",
    )
