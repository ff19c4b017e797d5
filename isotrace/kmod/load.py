"""Loading and unloading the module; what the kernel's refusals mean."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from isotrace.backends import lkm
from isotrace.errors import IsotraceError, KernelError, UsageError
from isotrace.kernel import features, probe_system
from isotrace.kmod import FILE, STORE
from isotrace.process.libc import syscall

_FINIT_MODULE, _DELETE_MODULE = 313, 176  # x86-64
_TABLES = ("sys_call_table", "ia32_sys_call_table", "x32_sys_call_table", "do_syscall_64", "do_int80_syscall_32")


def find(release: str) -> Path:
    """The file of the module for a kernel: built by isotrace, or by DKMS. Raises ``KernelError``."""
    installed = Path("/lib/modules", release)
    places = (STORE / release, installed / "updates/dkms", installed / "extra", installed / "updates")
    for place in places:
        if (place / FILE).exists():
            return place / FILE
    raise KernelError(f"no module has been built for Linux {release}", "isotrace module build")


def symbols(names: tuple[str, ...] = _TABLES) -> dict[str, int]:
    """The addresses of the kernel's symbols, those that /proc/kallsyms shows."""
    wanted = "|".join(map(re.escape, names))
    found = re.findall(rf"^([0-9a-f]+) \w ({wanted})$", probe_system.symbols(), re.MULTILINE)
    return {name: int(address, 16) for address, name in found if int(address, 16)}


def load(path: Path, mode: str = "auto") -> None:
    """Load the module from ``path``. Raises ``KernelError`` that says why the kernel does not take it."""
    if lkm.is_loaded():
        raise UsageError("the module is loaded already", "isotrace module unload comes first")
    parameters = " ".join([f"mode={mode}", *(f"{name}={address:#x}" for name, address in symbols().items())])
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscall(_FINIT_MODULE, descriptor, parameters.encode(), 0)
    except OSError as error:
        raise refusal(error.errno or 0, path, mode) from None
    finally:
        os.close(descriptor)


def refusal(code: int, path: Path, mode: str) -> KernelError:
    """What an errno of finit_module means."""
    if code == errno.ENOSYS:
        return _no_modules()
    if code == errno.EPERM:
        return _forbidden()
    if code in (errno.ENOKEY, errno.EKEYREJECTED, errno.EBADMSG):
        return KernelError(
            "the kernel takes only modules with a signature that it knows: Secure Boot or module.sig_enforce is on",
            "sign it with an enrolled key (Debian, Ubuntu: isotrace module build --dkms does, after mokutil --import), "
            "or turn Secure Boot off",
        )
    if code == errno.ENOEXEC:
        return KernelError(f"{path} was built for another kernel", "isotrace module build")
    if code == errno.EOPNOTSUPP:
        return KernelError(f"this kernel cannot do what the module needs (mode {mode})", "dmesg | grep isotrace")
    return KernelError(f"cannot load {path}: {os.strerror(code)}", "dmesg | tail tells more")


def _no_modules() -> KernelError:
    return KernelError("this kernel has no loadable modules", "CONFIG_MODULES=y")


def _forbidden() -> KernelError:
    for name in ("unsigned_modules", "unlocked", "modules"):
        feature = features.check(name)
        if feature.verdict == "no":
            return KernelError(f"the kernel does not let anybody load the module: {feature.why}", feature.remedy)
    return KernelError("loading a module needs root (CAP_SYS_MODULE)", "sudo isotrace module load")


def unload() -> None:
    """Take the module out. Raises ``KernelError`` when it is in use or not there."""
    try:
        syscall(_DELETE_MODULE, b"isotrace", os.O_NONBLOCK)
    except OSError as error:
        raise _kept(error.errno or 0) from None


def _kept(code: int) -> IsotraceError:
    """What an errno of delete_module means."""
    if code == errno.ENOSYS:
        return _no_modules()
    if code == errno.ENOENT:
        return UsageError("the module is not loaded", "isotrace module status")
    if code in (errno.EAGAIN, errno.EBUSY):
        return KernelError("the module is in use", "end the isotrace that uses it; see: isotrace module status")
    if code == errno.EPERM:
        return KernelError("unloading a module needs root (CAP_SYS_MODULE)", "sudo isotrace module unload")
    return KernelError(f"cannot unload the module: {os.strerror(code)}", "dmesg | tail tells more")
