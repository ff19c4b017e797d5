"""The vocabulary of the catalogue: a system call is a row, an argument is a name and a kind.

A row of ``meanings.txt`` reads

    openat      dfd:dirfd  filename:path  flags:flags(open_mode_flags)  mode:mode  -> fd

``NAME@ABI`` gives the row of one ABI where it differs (``mmap@i386``). Each argument is ``name:kind`` or
``name:kind(param,...)``. The kinds are:

    int uint long ulong size off hex ptr     a register as a number (off is signed; hex prints 0x…; ptr prints NULL or 0x…)
    fd dirfd pid uid gid mode dev signal     a register with the meaning that strace gives it
    flags(SET) enum(SET)                     bits of, or one value of, the table SET; SET is strace's xlat name
    path                                     NUL-terminated file name, always whole (up to 4096 bytes)
    str                                      NUL-terminated string that is not a file name (cut at the string limit)
    inbuf(LEN) outbuf(LEN)                   bytes given to, or filled by, the call; LEN names the argument that holds the
                                             length, or is `ret` for "as many as the call returned"
    in(STRUCT) out(STRUCT) inout(STRUCT)     pointer to one struct of the table decode.structs.STRUCTS; an `out` struct is
                                             read only when the call succeeded
    inarray(STRUCT,LEN) outarray(STRUCT,LEN) LEN structs (LEN as for inbuf, or a literal number)
    sockaddr(LEN) outsockaddr(LENPTR)        a socket address; LENPTR names the value-result pointer argument
    iniov(CNT) outiov(CNT)                   an iovec array of CNT elements (for outiov the bytes are bounded by the result)
    inmsg outmsg                             a struct msghdr
    argv envp                                NULL-terminated vectors of strings
    alt(KIND1;KIND2;…)                       reserved for calls whose argument depends on another one: see SPECIAL rows

The result, after ``->``, is one of: int uint long hex ptr fd pid size off mode none (never returns), default int.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument: its ``name``, its ``kind`` (see the module docstring) and that kind's parameters."""

    name: str
    kind: str
    params: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Syscall:
    """One system call of one ABI.

    ``number`` is the ABI's own number, ``args`` at most six, ``families`` strace's ``%`` classes and systemd's ``@`` sets.
    """

    name: str
    abi: str
    number: int
    args: tuple[Arg, ...]
    ret: str = "int"
    families: frozenset[str] = frozenset()
