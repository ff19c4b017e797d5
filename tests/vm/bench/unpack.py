"""What a guest boots, out of kernel packages: the ELF vmlinux and the modules that an initramfs may ask
for."""

from __future__ import annotations

import ctypes
import hashlib
import lzma
import struct
import subprocess
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from . import cache
from .archive import Say
from .errors import BenchError, UnavailableError
from .fetch import fetch
from .find import Found, find
from .matrix import Kernel
from .stage import each

#: The parts of a module tree that are kept; the rest (drivers, sound, …) is most of 400 MB and of no use to a
#: guest.
KEPT_MODULES = (
    *("kernel/drivers/virtio/", "kernel/fs/", "kernel/net/9p/", "kernel/lib/", "kernel/crypto/"),
    # socket families and protocols, with what they depend on
    *(f"kernel/net/{name}/" for name in ("can", "dccp", "kcm", "key", "l2tp", "llc", "qrtr", "rds", "rxrpc", "sctp")),
    *(
        "kernel/net/smc/",
        "kernel/net/tipc/",
        "kernel/net/tls/",
        "kernel/net/vmw_vsock/",
        "kernel/drivers/infiniband/core/",
    ),
    *("kernel/net/ipv4/udp_tunnel.", "kernel/net/ipv6/ip6_udp_tunnel.", "kernel/drivers/net/dummy."),
)
KEPT_LISTS = ("modules.builtin", "modules.order")
#: How a compressed kernel or module begins, and what undoes it.
XZ, ZSTD, GZIP = b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
LZ4_LEGACY, ELF = b"\x02\x21\x4c\x18", b"\x7fELF"
LZ4_BLOCK = 8 << 20  # bytes that one block of lz4's legacy format holds at most


@dataclass(frozen=True)
class Artefacts:
    """A kernel ready to boot: a directory with ``vmlinux`` and ``modules/``."""

    path: Path

    @property
    def vmlinux(self) -> Path:
        """The uncompressed ELF image: QEMU enters it directly (PVH), with no self-decompression under
        emulation."""
        return self.path / "vmlinux"

    @property
    def modules(self) -> Path:
        """The content of /lib/modules/RELEASE, as far as it is kept."""
        return self.path / "modules"


def unpack(found: Found, debs: Sequence[Path]) -> Artefacts:
    """The kernel that ``found`` names, out of its packages ``debs``."""
    kept = hashlib.sha256(" ".join(KEPT_MODULES).encode()).hexdigest()[:8]
    name = f"{found.main.name.removeprefix('linux-image-')}_{found.main.sha256[:16]}.{kept}"
    final = cache.place("kernels") / name
    if not final.is_dir():
        with cache.staged(final) as part:
            (part / "modules").mkdir(parents=True)
            for deb in debs:
                _unpack_deb(deb, part)
            vmlinuz = part / "vmlinuz"
            if not vmlinuz.exists():
                raise BenchError(
                    f"{found.main.name} holds no vmlinuz", "the package's layout has changed: see unpack.py"
                )
            (part / "vmlinux").write_bytes(elf_image(vmlinuz.read_bytes()))
            vmlinuz.unlink()
    return Artefacts(final)


def _unpack_deb(deb: Path, to: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as dpkg:
        assert dpkg.stdout
        _store_wanted(dpkg.stdout, to)
    if dpkg.returncode:
        raise BenchError(f"{deb.name} cannot be unpacked", f"remove {deb} and try again")


def _store_wanted(archive: IO[bytes], to: Path) -> None:
    with tarfile.open(fileobj=archive, mode="r|") as members:
        for member in members:
            name = wanted_member(member.name)
            source = members.extractfile(member) if name and member.isfile() else None
            if source:
                path = to / str(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(source.read())


def wanted_member(name: str) -> str | None:
    """Where a package's file belongs in the artefacts, ``None`` for a file that is not kept."""
    path = name.removeprefix("./").removeprefix("usr/")
    if path.startswith("boot/vmlinuz-"):
        return "vmlinuz"
    if not path.startswith("lib/modules/"):
        return None
    inside = path.split("/", 3)[-1]
    if inside == "vmlinuz":
        return inside
    return f"modules/{inside}" if inside in KEPT_LISTS or inside.startswith(KEPT_MODULES) else None


def elf_image(vmlinuz: bytes) -> bytes:
    """The ELF kernel inside a bzImage, found by the boot protocol's payload fields (2.08, Linux 2.6.26)."""
    if vmlinuz[:4] == ELF:
        return vmlinuz
    if vmlinuz[0x202:0x206] != b"HdrS":
        raise BenchError("the kernel image is not a bzImage")
    setup_sectors = vmlinuz[0x1F1] or 4
    offset, length = struct.unpack_from("<II", vmlinuz, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    image = decompress(vmlinuz[start : start + length])
    if image[:4] != ELF:
        raise BenchError("the kernel image holds no ELF file")
    return image


def decompress(data: bytes) -> bytes:
    """Undo the compression of a kernel or a module; bytes after its end (the kernel's size field) are
    ignored."""
    if data.startswith(XZ):
        return lzma.LZMADecompressor().decompress(data)
    if data.startswith(GZIP):
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data)
    if data.startswith(ZSTD):
        return unzstd(data)
    if data.startswith(LZ4_LEGACY):
        return b"".join(_lz4_blocks(data))
    return data


def unzstd(data: bytes) -> bytes:
    """Undo zstd, with the command: Python 3.11 has no module for it."""
    try:
        done = subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        raise UnavailableError("zstd is not installed", "apt-get install zstd") from None
    return done.stdout  # its exit status is also 1 for the size field after the end


def _lz4_blocks(data: bytes) -> Iterator[bytes]:
    library = ctypes.CDLL("liblz4.so.1")  # dpkg and systemd need it too
    out = ctypes.create_string_buffer(LZ4_BLOCK)
    at = len(LZ4_LEGACY)
    while at + 4 < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        length = library.LZ4_decompress_safe(data[at + 4 : at + 4 + size], out, size, LZ4_BLOCK)
        if length < 0:
            raise BenchError("the kernel image's lz4 data is damaged")
        yield out.raw[:length]
        at += 4 + size


def unpacked(kernel: Kernel, say: Say) -> Artefacts:
    """Find, fetch and unpack a distribution's kernel."""
    found = find(kernel, say)
    return unpack(found, [fetch(package, say) for package in (found.main, *found.parts)])


if __name__ == "__main__":
    each(lambda kernel, say: say(str(unpacked(kernel, say).path)))
