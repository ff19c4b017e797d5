"""The distribution's package index: through the mirror and the proxy that apt is configured with, signature
and hash checked.

Answers are kept in the cache. One that is older than ``MAX_AGE`` is asked for anew; without a network it
still serves.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from . import cache
from .errors import BenchError, UnavailableError, disk_full

Say = Callable[[str], None]

APT_HELPER = Path("/usr/lib/apt/apt-helper")
KEYRINGS = (Path("/usr/share/keyrings/debian-archive-keyring.gpg"), Path("/etc/apt/trusted.gpg.d"))
INDEX = "main/binary-amd64/Packages.xz"
MAX_AGE = 7 * 86400
#: The packages worth remembering: kernels, what modules are built with, and what those tools are linked with.
WANTED = re.compile(r"linux-(image|binary|modules|base|headers|kbuild|source)-.*|libc6|libelf1(t64)?|zlib1g|libzstd1")
_ASKING = threading.Lock()  # kernels that share a suite are prepared at the same time
MIRROR_HINT = "set ISOTRACE_DEBIAN_MIRROR and ISOTRACE_DEBIAN_SECURITY_MIRROR to a Debian archive"

DISK_FULL = r"No space left on device|\(28:"
#: What a transfer's error output says, and what that means; first match wins.
TRANSFER_FAULTS = (
    (r"404 +Not Found|File not found|Failed to stat", "{url} is not there"),
    (r"resolv|connect|unreachable|timed out|timeout|Connection", "no network: {url} cannot be reached"),
)


@dataclass(frozen=True)
class Package:
    """One version of one package. ``url`` is where it is, ``size`` in bytes, ``depends`` the first
    alternatives' names."""

    name: str
    version: str
    url: str
    size: int
    sha256: str
    depends: tuple[str, ...] = ()


def suite_packages(suite: str, say: Say) -> list[Package]:
    """The wanted packages of ``suite``, from the cache while it is fresh or when the mirror does not answer.

    Raises ``UnavailableError`` when there is neither, ``BenchError`` when signature or hash is wrong.
    """
    what = hashlib.sha256(WANTED.pattern.encode()).hexdigest()[:8]
    with _ASKING:
        return _suite_packages(suite, cache.place("index") / f"{suite}.{what}.json", say)


def _suite_packages(suite: str, kept: Path, say: Say) -> list[Package]:
    if kept.exists() and time.time() - kept.stat().st_mtime < MAX_AGE:
        return _read(kept)
    try:
        say(f"index of {suite}")
        packages = _download(suite, say)
    except UnavailableError as error:
        if not kept.exists():
            raise
        say(f"{error.message}; using the answer of {time.strftime('%F', time.gmtime(kept.stat().st_mtime))}")
        return _read(kept)
    with cache.staged(kept) as part:
        part.write_text(json.dumps([asdict(package) for package in packages], indent=1))
    return packages


def _read(path: Path) -> list[Package]:
    rows = json.loads(path.read_text())
    return [Package(**{**row, "depends": tuple(row["depends"])}) for row in rows]


def _download(suite: str, say: Say) -> list[Package]:
    base = mirror(suite)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=cache.place("index")) as work:
        release, packages = Path(work, "InRelease"), Path(work, "Packages.xz")
        transfer(f"{base}/dists/{suite}/InRelease", release)
        hashes = parse_release(signed_text(release, say))
        if INDEX not in hashes:
            raise UnavailableError(f"suite {suite} has no {INDEX}", "correct the suite in tests/vm/kernels.toml")
        transfer(f"{base}/dists/{suite}/{INDEX}", packages)
        check(packages, hashes[INDEX])
        with lzma.open(packages, "rt", encoding="utf-8") as lines:
            return [package for package in parse_packages(lines, base) if WANTED.fullmatch(package.name)]


def mirror(suite: str) -> str:
    """The URL of the archive that holds ``suite``: what apt is configured with, or the environment's
    override."""
    security = suite.endswith("-security")
    override = os.environ.get("ISOTRACE_DEBIAN_SECURITY_MIRROR" if security else "ISOTRACE_DEBIAN_MIRROR")
    if override:
        return override.rstrip("/")
    form = "$(REPO_URI) $(RELEASE) $(ORIGIN)"
    try:
        command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        listing = ""
    return pick_mirror(listing, security)


def pick_mirror(listing: str, security: bool) -> str:
    """Debian's archive, or its security archive, among apt's targets (``URI RELEASE ORIGIN`` a line)."""
    for line in listing.splitlines():
        uri, release, *origin = line.split(" ", 2)
        if release.endswith("-security") == security and origin in (["Debian"], [""], []):
            return uri.rstrip("/")
    raise UnavailableError("apt has no Debian archive configured", MIRROR_HINT)


def transfer(url: str, to: Path) -> None:
    """Bring ``url`` to the file ``to`` with apt's own means, its proxy and credentials; what arrives is not
    yet verified."""
    if not APT_HELPER.exists():
        raise UnavailableError(f"{APT_HELPER} is missing", "the bench fetches its kernels through apt")
    options = ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=30", "-o", "APT::Sandbox::User=root"]
    command = [str(APT_HELPER), *options, "download-file", url, str(to)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    if done.returncode or not to.exists():
        raise transfer_error(url, done.stderr)


def transfer_error(url: str, stderr: str) -> UnavailableError:
    """What apt's error output means."""
    if re.search(DISK_FULL, stderr):
        return disk_full()
    default = "{url}: {reason}"
    meaning = next((text for pattern, text in TRANSFER_FAULTS if re.search(pattern, stderr)), default)
    reasons = [line.removeprefix("E: ") for line in stderr.splitlines() if line.startswith("E:")]
    message = meaning.format(url=url, reason=(reasons or ["no reason given"])[0])
    return UnavailableError(message, "try again when the mirror can be reached; what is cached still runs")


def check(path: Path, sha256: str) -> None:
    """Raise ``BenchError`` unless the file has that SHA-256."""
    with path.open("rb") as stream:
        got = hashlib.file_digest(stream, "sha256").hexdigest()
    if got != sha256:
        message = f"{path.name}: SHA-256 is {got[:12]}…, the index says {sha256[:12]}…"
        raise BenchError(message, "the mirror may be in the middle of an update: try again later")


def signed_text(release: Path, say: Say) -> str:
    """The part of an InRelease file that its signature covers; says so where nothing here can check it."""
    rings = [ring for path in KEYRINGS for ring in (sorted(path.glob("*.gpg")) if path.is_dir() else [path])]
    rings = [ring for ring in rings if ring.exists()]
    if not rings or not shutil.which("gpgv"):
        say("signature not checked: gpgv or debian-archive-keyring is not installed")
        return release.read_text()
    plain = release.with_suffix(".plain")
    command = ["gpgv", "--status-fd", "1", "--output", str(plain)]
    command += [word for ring in rings for word in ("--keyring", str(ring))]
    status = subprocess.run([*command, str(release)], capture_output=True, text=True).stdout
    if "[GNUPG:] VALIDSIG" not in status or "[GNUPG:] BADSIG" in status:
        raise BenchError("the archive's signature is not valid", "update debian-archive-keyring")
    return plain.read_text()


def parse_release(text: str) -> dict[str, str]:
    """Path to SHA-256, of every file that a Release file lists."""
    section = re.search(r"^SHA256:\n((?: .*\n?)+)", text, re.MULTILINE)
    rows = (line.split() for line in section[1].splitlines()) if section else ()
    return {path: sha256 for sha256, _size, path in rows}


def parse_packages(lines: Iterable[str], base: str) -> Iterator[Package]:
    """The stanzas of a Packages file; one without a name, a file or a hash is skipped."""
    fields: dict[str, str] = {}
    for line in (*lines, ""):
        if line.strip():
            key, colon, value = line.partition(":")
            if colon and not line[0].isspace():
                fields[key] = value.strip()
        elif fields:
            if {"Package", "Version", "Filename", "Size", "SHA256"} <= fields.keys():
                yield _package(fields, base)
            fields = {}


def _package(fields: dict[str, str], base: str) -> Package:
    depends = tuple(word.split()[0] for word in fields.get("Depends", "").split(",") if word.strip())
    url = f"{base}/{fields['Filename']}"
    return Package(fields["Package"], fields["Version"], url, int(fields["Size"]), fields["SHA256"], depends)
