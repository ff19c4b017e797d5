"""A package archive in a directory, for the tests of what fetches from one."""

from __future__ import annotations

import hashlib
import lzma
import subprocess
from pathlib import Path

STANZA = """Package: {name}
Version: {version}
Depends: kmod, linux-base (>= 4.3~), {depends}
Description: a kernel
 with a second line: that has a colon
Filename: {path}
Size: {size}
SHA256: {sha256}
"""


class Archive:
    """Suites with packages under ``root``; apt reaches them by ``url``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = f"copy://{root}"
        self.stanzas: dict[str, list[str]] = {}

    def add(
        self, suite: str, name: str, version: str, content: bytes = b"a package", depends: str = "perl"
    ) -> Path:
        """Put a package into the pool and into the suite's index."""
        path = self.root / "pool" / f"{name}_{version}.deb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        values = {
            "name": name,
            "version": version,
            "depends": depends,
            "size": len(content),
            "sha256": sha256,
        }
        stanza = STANZA.format(path=path.relative_to(self.root), **values)
        self.stanzas.setdefault(suite, []).append(stanza)
        self._publish(suite)
        return path

    def add_deb(self, suite: str, name: str, version: str, tree: Path) -> Path:
        """Build a real package of the files in ``tree``."""
        control = tree / "DEBIAN" / "control"
        control.parent.mkdir()
        control.write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: x\nDescription: x\n"
        )
        deb = self.root / "built.deb"
        subprocess.run(["dpkg-deb", "-b", str(tree), str(deb)], check=True, capture_output=True)
        return self.add(suite, name, version, deb.read_bytes())

    def index(self, suite: str) -> Path:
        """The suite's package index."""
        return self.root / "dists" / suite / "main" / "binary-amd64" / "Packages.xz"

    def _publish(self, suite: str) -> None:
        index = self.index(suite)
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_bytes(lzma.compress("\n".join(self.stanzas[suite]).encode()))
        sha256 = hashlib.sha256(index.read_bytes()).hexdigest()
        line = f" {sha256} {index.stat().st_size} main/binary-amd64/Packages.xz"
        release = f"Suite: {suite}\nSHA256:\n {'0' * 64} 5 main/other\n{line}\nDate: today\n"
        (self.root / "dists" / suite / "InRelease").write_text(release)
