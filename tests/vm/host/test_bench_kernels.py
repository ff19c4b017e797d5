"""The matrix as data, and what becomes of packages: images, modules, an initramfs, a configuration."""

from __future__ import annotations

import gzip
import io
import lzma
import re
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from isotrace.errors import UsageError
from tests.vm.bench import build, run, tools
from tests.vm.bench.errors import BenchError, UnavailableError
from tests.vm.bench.initramfs import Cpio, depends, job_archive, modules, root_type
from tests.vm.bench.matrix import VM, Kernel, load, select
from tests.vm.bench.unpack import decompress, elf_image, unpacked, wanted_member
from tests.vm.host.archive_fixture import Archive

ELF = b"\x7fELF" + bytes(range(256)) * 40
OVERRIDE = [
    "FUNCTION_ERROR_INJECTION",
    "BPF_KPROBE_OVERRIDE",
    "BPF_LSM",
    "KPROBES",
    "MODULES",
    "FTRACE_SYSCALLS",
]


def selected(*words: str) -> list[str]:
    return [kernel.name for kernel in select(load(), words)]


def test_a_kernel_is_picked_by_its_name_or_a_beginning() -> None:
    assert selected("6.1") == ["6.1"]
    assert selected("7") == ["7.x"]
    assert selected("7,5") == ["5.10", "7.x"]
    assert len(selected()) == 10


@pytest.mark.parametrize(
    ("word", "message"), [("6", "several kernels begin with '6'"), ("4", "no kernel is called '4'")]
)
def test_another_name_is_refused_with_the_names_there_are(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        selected(word)
    assert "6.12" in caught.value.hint


def test_a_kernel_like_another_differs_in_what_it_says(tmp_path: Path) -> None:
    kernels = {kernel.name: kernel for kernel in load().kernels}
    two, one = kernels["two-6.1"], kernels["6.1"]
    assert (two.image, two.features, two.release) == (one.image, one.features, one.release)
    assert (one.processors, one.mitigations, two.processors, two.mitigations) == (1, False, 2, True)
    (tmp_path / "kernels.toml").write_text((VM / "kernels.toml").read_text().replace('like = "5.10"', 'like = "5.9"'))
    with pytest.raises(UsageError, match=r"kernel two-5\.10: it is to be like 5\.9, which is not there"):
        load(tmp_path / "kernels.toml")


def test_the_package_is_on_a_kernel_of_its_own_whose_processor_runs_what_is_vendored() -> None:
    (kernel,) = [kernel for kernel in load().kernels if kernel.package]
    assert (
        kernel.on_demand and [test.name for test in kernel.tests] == ["test_package.py"] and kernel.tests[0].is_file()
    )
    assert "cx16=off" not in " ".join(run.machine_of(kernel).options)
    (plain,) = select(load(), ["6.1"])
    assert "max,cx16=off,avx2=off" in run.machine_of(plain).options
    assert "ISOTRACE_VM_PACKAGE=/tree" in run.job(kernel, ["true"], tree=Path("/tree"))
    assert "ISOTRACE_VM_PACKAGE" not in run.job(kernel, ["true"])


def test_an_unknown_feature_is_refused(tmp_path: Path) -> None:
    text = (VM / "kernels.toml").read_text().replace('"btf", "cgroup2"', '"bft", "cgroup2"', 1)
    (tmp_path / "kernels.toml").write_text(text)
    with pytest.raises(UsageError, match=r"kernel 5\.10: unknown feature bft"):
        load(tmp_path / "kernels.toml")


def test_the_built_kernel_asks_for_what_no_distribution_ships() -> None:
    (kernel,) = select(load(), ["6.1-override"])
    assert kernel.fragment
    text = kernel.fragment.read_text()
    for option in [*OVERRIDE, "IA32_EMULATION", "IO_URING", "DEBUG_INFO_BTF"]:
        assert re.search(rf"^CONFIG_{option}=y$", text, re.MULTILINE), option


def bzimage(payload: bytes) -> bytes:
    """A boot sector and setup code with one payload behind them."""
    setup = bytearray(5 * 512)
    setup[0x1F1] = 4
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", setup, 0x248, 64, len(payload))
    return bytes(setup) + bytes(64) + payload


def lz4_legacy(data: bytes) -> bytes:
    """One block without a match: a token with the literals' length, and the literals."""
    extra = len(data) - 15
    block = b"\xf0" + b"\xff" * (extra // 255) + bytes([extra % 255]) + data
    return b"\x02\x21\x4c\x18" + struct.pack("<I", len(block)) + block


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-cq"], input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, zstd, lz4_legacy, bytes])
def test_the_elf_kernel_is_found_in_a_bzimage_however_compressed(compress) -> None:
    size_field = struct.pack("<I", len(ELF))
    assert elf_image(bzimage(compress(ELF) + (b"" if compress is bytes else size_field))) == ELF


def test_another_file_is_no_kernel() -> None:
    with pytest.raises(BenchError, match="not a bzImage"):
        elf_image(bytes(4096))
    with pytest.raises(BenchError, match="no ELF"):
        elf_image(bzimage(gzip.compress(b"something else")))


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("./boot/vmlinuz-6.1.0-1-amd64", "vmlinuz"),
        ("./usr/lib/modules/7.3/vmlinuz", "vmlinuz"),
        ("./lib/modules/6.1.0-1-amd64/kernel/net/9p/9pnet.ko", "modules/kernel/net/9p/9pnet.ko"),
        ("./usr/lib/modules/7.3/modules.builtin", "modules/modules.builtin"),
        ("./lib/modules/6.1.0-1-amd64/kernel/sound/soundcore.ko", None),
        ("./lib/modules/6.12/kernel/net/sctp/sctp.ko.xz", "modules/kernel/net/sctp/sctp.ko.xz"),
        ("./boot/config-6.1.0-1-amd64", None),
        ("./lib/modules/../../etc/passwd", None),
    ],
)
def test_of_a_package_only_what_a_guest_needs_is_kept(name: str, kept: str | None) -> None:
    assert wanted_member(name) == kept


def module(*needs: str) -> bytes:
    return b"\x7fELF...\0license=GPL\0depends=" + ",".join(needs).encode() + b"\0name=x\0"


def test_modules_come_in_the_order_in_which_they_load(tmp_path: Path) -> None:
    files = {
        "kernel/fs/9p/9p.ko": module("9pnet", "netfs"),
        "kernel/fs/netfs/netfs.ko.xz": lzma.compress(module()),
        "kernel/net/9p/9pnet.ko.zst": zstd(module()),
        "kernel/net/9p/9pnet_virtio.ko": module("virtio", "9pnet", "virtio_ring"),
        "kernel/drivers/virtio/virtio_ring.ko": module(),
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "modules.builtin").write_text("kernel/drivers/virtio/virtio.ko\nkernel/fs/fuse/virtio-fs.ko\n")
    found = modules(tmp_path)
    assert list(found.closure(("9p", "9pnet_virtio"))) == [
        "9pnet",
        "netfs",
        "9p",
        "virtio_ring",
        "9pnet_virtio",
    ]
    assert found.closure(("9p",))["netfs"] == module()
    assert root_type(found) == "9p"
    assert found.has("virtio_fs")
    with pytest.raises(BenchError, match="no module overlay"):
        found.closure(("overlay",))


def test_depends_are_read_from_the_module_itself() -> None:
    assert depends(module("a", "b-c")) == ["a", "b_c"]
    assert depends(b"\x7fELF") == []


def test_the_archive_is_one_that_others_can_read() -> None:
    cpio = Cpio()
    cpio.entry("bin", 0o40755)
    cpio.file("bin/a", b"content")
    listing = subprocess.run(["busybox", "cpio", "-tv"], input=cpio.finish(), capture_output=True, check=True).stdout
    assert re.search(rb"drwxr-xr-x .* bin\n-rwxr-xr-x .* 7 .* bin/a\n", listing)
    assert len(job_archive("exit 0\n")) % 512 == 0


def deb_tree(root: Path) -> Path:
    boot, net = root / "boot", root / "lib/modules/6.1.0-1-amd64/kernel/net/9p"
    boot.mkdir(parents=True)
    net.mkdir(parents=True)
    (boot / "vmlinuz-6.1.0-1-amd64").write_bytes(bzimage(gzip.compress(ELF)))
    (net / "9pnet.ko").write_bytes(module())
    return root


def test_a_package_becomes_a_kernel_to_boot(mirror: Archive, said: list[str], tmp_path: Path) -> None:
    mirror.root.mkdir()
    mirror.add_deb("stable", "linux-image-6.1.0-1-amd64", "6.1.1-1", deb_tree(tmp_path / "tree"))
    kernel = Kernel("6.1", ".*", ("stable",), frozenset(), image="linux-image-.*")
    ready = unpacked(kernel, said.append)
    assert ready.vmlinux.read_bytes() == ELF
    assert list(modules(ready.modules).files) == ["9pnet"]


def test_a_fragment_has_to_be_taken_by_the_configuration() -> None:
    fragment = "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D=n\nCONFIG_E=y\nCONFIG_F=y\n"
    config = "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\n# CONFIG_E is not set\n"
    assert build.refused_options(fragment, config) == ["CONFIG_C", "CONFIG_B", "CONFIG_E", "CONFIG_F"]


@pytest.fixture
def fragment(tmp_path: Path) -> Kernel:
    """A kernel to build, with a fragment of its own."""
    path = tmp_path / "fragment"
    path.write_text("CONFIG_A=y\n")
    return Kernel("own", ".*", ("stable",), frozenset(), source="linux-source-.*", fragment=path)


def test_a_kernel_prebuilt_from_the_same_fragment_is_used(
    fragment: Kernel, tmp_path: Path, own_cache: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = tmp_path / "prebuilt" / "any-name"
    ready.mkdir(parents=True)
    assert fragment.fragment
    shutil.copy(fragment.fragment, ready / "fragment")
    (ready / "vmlinux.zst").write_bytes(zstd(ELF))
    for name in ("config", "kheaders_data.tar.xz"):
        (ready / name).touch()
    with tarfile.open(ready / "modules.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("lib/modules/6.1.9-own/modules.builtin")
        tar.addfile(info, io.BytesIO())
    monkeypatch.setattr(build, "PREBUILT", tmp_path / "prebuilt")
    built = build.built(fragment, said.append)
    assert built.vmlinux.read_bytes() == ELF and (built.modules / "modules.builtin").exists()
    shutil.rmtree(ready)
    assert build.built(fragment, said.append).vmlinux.read_bytes() == ELF


def test_a_kernel_of_another_fragment_is_not_used(
    fragment: Kernel, tmp_path: Path, own_cache: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "prebuilt" / "own"
    other.mkdir(parents=True)
    (other / "fragment").write_text("CONFIG_A=n\n")
    monkeypatch.setattr(build, "PREBUILT", tmp_path / "prebuilt")
    monkeypatch.setattr(build, "TOOLS", {"no-such-tool": "tool-package"})
    with pytest.raises(UnavailableError) as caught:
        build.built(fragment, said.append)
    assert "apt-get install tool-package" in caught.value.hint


def test_data_that_is_not_compressed_stays_as_it_is() -> None:
    assert decompress(b"plain") == b"plain"


def test_nothing_is_to_install_where_everything_is_there(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    present = {"sh": "dash"}
    monkeypatch.setattr(tools, "COMMANDS", present)
    monkeypatch.setattr(tools, "VIRTIOFSD", ("/bin/sh",))
    monkeypatch.setattr(tools, "BCC", Path("/"))
    assert tools.missing(select(load(), ["6.12"])) == []


def test_what_a_build_needs_is_asked_for_only_where_one_is_ahead(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "COMMANDS", {"no-such-qemu": "qemu-package"})
    monkeypatch.setattr(build, "PREBUILT", tmp_path)
    monkeypatch.setattr(build, "TOOLS", {"no-such-compiler": "compiler-package"})
    assert "compiler-package" not in tools.missing(select(load(), ["6.12"]))
    found = tools.missing(select(load(), ["6.1-override"]))
    assert "qemu-package" in found and "compiler-package" in found
