"""The example of an update that steals does what its README says, as far as this kernel can enforce it."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path

import pytest
import seccomp_profile
from tracer import ROOT

from isotrace.enforce.calls import notify
from isotrace.kernel import landlock
from tests import console

PLACE = Path("/tmp/isotrace-update")


@pytest.mark.skipif(notify.listens().verdict != "yes", reason=f"needs seccomp_notify: {notify.listens().why}")
@pytest.mark.skipif(landlock.abi() < 4, reason=f"needs landlock of ABI 4: {landlock.abi()}")
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: the example steals with it")
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_commands_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    shutil.rmtree(PLACE, ignore_errors=True)
    try:
        console.run(ROOT / "examples/package-update/README.md", tmp_path, "export", "landlock")
        _the_profile_lets_version_1_through()
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)


def _the_profile_lets_version_1_through() -> None:
    """As libseccomp loads it; and no socket."""
    shutil.copytree(ROOT / "examples/package-update/v1", PLACE / "package", dirs_exist_ok=True)
    (PLACE / "greeter" / "version").unlink()

    def child() -> int:
        with pytest.raises(PermissionError):
            socket.socket()
        os.execv("/bin/sh", ["sh", str(PLACE / "package/install.sh"), str(PLACE / "greeter")])

    assert seccomp_profile.under(json.loads((PLACE / "greeter.json").read_text()), child) == 0
    assert (PLACE / "greeter" / "version").read_text().strip() == "1.0"
