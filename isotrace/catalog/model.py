"""The vocabulary of the catalogue: a system call is a row, an argument is a name and a kind.

A row of ``meanings.txt`` reads

    openat      dfd:dirfd  filename:path  flags:flags(open_mode_flags)  mode:alt(open_mode)  -> fd

``NAME@ABI,ABI`` gives the row of the ABIs where it differs (``mmap@i386``). Each argument is ``name:kind`` or
``name:kind(param,...)``, with the kernel's own names. The kinds are:

    int uint long ulong size off hex ptr   a register as a number (off is signed; hex prints 0x…; ptr NULL
                                           or 0x…)
    fd dirfd pid uid gid mode dev signal   a register with the meaning that strace gives it
    uid16 gid16                            the low 16 bits of a register (0xffff is -1)
    none                                   not shown: a half of a pair, or a register that this command does
                                           not use
    off64(HIGH)                            the low half of a signed 64-bit number; argument HIGH has the
                                           upper half
    flags(SET) enum(SET)                   bits of, or one value of, the table SET; SET is strace's xlat name
    flags32(SET) enum32(SET)               the same of the low 32 bits, where the kernel casts a wider argument
    flags64(SET,HIGH)                      bits of SET in a pair of registers, as for off64
    path                                   NUL-terminated file name, always whole (up to 4096 bytes)
    outpath(LEN)                           a file name filled by the call (readlink, getcwd): LEN bytes or
                                           up to a NUL
    str                                    NUL-terminated string, not a file name (cut at the string limit)
    inbuf(LEN) outbuf(LEN)                 bytes given to, or filled by, the call
    outhex(LEN)                            bytes filled by the call that are no text, each as \\x…
    outdirents(LEN) outdirents64(LEN)      directory entries of getdents and getdents64: their number is shown
    outrem(STRUCT)                         the time that was left, filled only when the call was interrupted
    in(STRUCT) out(STRUCT) inout(STRUCT)   pointer to one struct of the table decode.structs.STRUCTS; an
                                           `out` struct is read only when the call succeeded
    either(GIVEN,FILLED)                   one struct in and out: what of it was given where the call failed,
                                           otherwise all of it
    program(STRUCT,WHAT)                   a struct that points to a filter program of classic BPF; WHAT is seccomp or sock
    outdone(STRUCT)                        as out, but filled only where the result is more than 0
    insized(STRUCT,LEN) outsized(STRUCT,LEN)
                                           a struct of which the call reads, or fills, LEN bytes
    was(STRUCT)                            the same, of which the kernel writes over what it was given: that is
                                           read when the call begins, and shown
    moves(STRUCT)                          as was, with what it became: [0] => [5]
    wants(STRUCT)                          a length in and out: [110 => 24]
    fdset(NFDS)                            a set of NFDS descriptors in and out; what was given is shown
    inarray(STRUCT,LEN) outarray(STRUCT,LEN) inoutarray(STRUCT,LEN)
                                           LEN structs
    sockaddr(LEN) outsockaddr(LENPTR)      a socket address; LENPTR names the value-result pointer argument
    iniov(CNT) outiov(CNT)                 an iovec array of CNT elements (outiov: bytes are bounded by the
                                           result)
    inmsg outmsg                           a struct msghdr
    inmmsg(LEN) outmmsg(LEN)               LEN struct mmsghdr
    incpuset(LEN) outcpuset(LEN)           a CPU mask of LEN bytes
    argv envp                              NULL-terminated vectors of strings
    alt(NAME)                              one of several kinds, chosen by other arguments: see below

LEN is the name of the argument that holds the length, `ret` for "as many as the call returned", `ret<NAME`
for "but no more than argument NAME says", a literal number, or `*NAME` for the 32-bit number that the
pointer argument NAME points to when the call has returned.

Registers that pack more than one thing, each as strace prints it:

    modetype       mode with the file type in words: S_IFCHR|0666
    socktype       a socket type (enum socktypes) with the bits of sock_type_flags: SOCK_STREAM|SOCK_CLOEXEC
    cloneflags     clone_flags with the exit signal in the low byte: CLONE_VM|CLONE_VFORK|SIGCHLD
    sigmask        a set of the first 32 signals: [INT TERM]
    ipckey         IPC_PRIVATE or 0x…
    pidtype        whose cookie a PR_SCHED_CORE is about: 1 /* PIDTYPE_TGID */
    serial         a key: KEY_SPEC_SESSION_KEYRING or its serial number
    ipcmode(SET)   bits of SET with an octal mode in the low nine bits: IPC_CREAT|0600
    vectorlength(SET) the length of vectors of arm64 in the low 16 bits, bits of SET above: PR_SVE_VL_INHERIT|0x20
    taggedaddr     what arm64's kernel takes of tagged addresses: PR_TAGGED_ADDR_ENABLE|PR_MTE_TCF_SYNC
    swapflags      bits of swap_flags with a priority in the low fifteen bits: SWAP_FLAG_PREFER|42
    pgoff          an offset in pages of 4096 bytes, shown in bytes, in hex
    mpolmode       a memory policy (enum policies) with the bits of mpol_modeflags
    quotacmd       QCMD(Q_GETQUOTA, USRQUOTA): enum quotacmds above the low byte, enum quotatypes in it
    ioprio         IOPRIO_PRIO_VALUE(class, data)
    packetproto    a protocol number in network byte order: htons(ETH_P_ALL)
    futexbits      hex, or FUTEX_BITSET_MATCH_ANY
    openbits       open's flags without an access mode (pipe2, dup3)
    futexwakeop    the packed operation of FUTEX_WAKE_OP

A row of ``alternatives.txt`` lists the cases of one `alt`, tried in order, and may go on over lines that
begin with a space:

    fcntl cmd=F_GETLK,F_OFD_GETLK:inout(flock)  cmd=F_SETFL:flags(open_mode_flags)  *:hex

A case is TESTS:KIND. A test is `ARG=VALUES` (the argument equals one of them) or `ARG&VALUES` (it has any
bit of one of them); `TEST+TEST` asks for both; `*` is always true and comes last. ARG may be `ARG/MASK`
(only these bits) or `ARG>>N`. Tests see the low 32 bits of a register. VALUES are numbers, or names of
constants in the sets of ARG's own kind. ``<NAME`` stands for the cases of a row above; ``<NAME(STRUCT,…)`` has STRUCT32
for each of these structs, which may be patterns.

How many bits of a register the call looks at is the C type's: `Syscall.widths` has it from the kernel's
prototypes. Kinds that are an `int` by their nature (int, uint, fd, dirfd, pid, uid, gid, signal) are 32 bits
wide also where the type is wider: the kernel casts such an argument before it looks.

The result, after ``->``, is one of: int uint long hex ptr fd pid size off mode none (never returns), or
``alt(NAME)`` with kinds that may also be flags, enum and signal; default int.
"""

from __future__ import annotations

from dataclasses import dataclass

_KINDS = {
    0: "int uint long ulong size off hex ptr fd dirfd pid uid gid mode dev signal uid16 gid16 none path str "
    "inmsg outmsg argv envp modetype socktype cloneflags sigmask ipckey pgoff mpolmode quotacmd ioprio "
    "packetproto futexbits futexwakeop openbits serial pidtype taggedaddr swapflags",
    1: "off64 flags enum flags32 enum32 ipcmode vectorlength outpath inbuf outbuf outhex outdirents outdirents64 in out "
    "inout outrem was moves wants fdset outdone sockaddr outsockaddr iniov outiov inmmsg outmmsg incpuset outcpuset alt",
    2: "either program flags64 insized outsized inarray outarray inoutarray",
}
#: Every kind, with the number of its parameters.
KINDS: dict[str, int] = {kind: count for count, words in _KINDS.items() for kind in words.split()}

#: Set in every number of an x32 call.
X32_BIT = 0x40000000

#: The ABIs, as every function of the catalogue names them.
ABIS = ("x86_64", "x32", "i386", "arm64")


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument: its ``name``, its ``kind`` (see the module docstring) and that kind's parameters."""

    name: str
    kind: str
    params: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Syscall:
    """One system call of one ABI.

    ``number`` is the ABI's own number (for x32 with X32_BIT), ``args`` at most six, ``families`` strace's
    ``%`` classes and systemd's ``@`` sets, ``widths`` how many bits of each argument's register the kernel looks at
    (a missing one: 64).
    """

    name: str
    abi: str
    number: int
    args: tuple[Arg, ...]
    ret: str = "int"
    families: frozenset[str] = frozenset()
    widths: tuple[int, ...] = ()

    def among(self, calls: frozenset[str] | None) -> bool:
        """Whether a call expression selects it (``catalog.expr.parse``); None selects all."""
        return calls is None or self.name in calls or f"{self.name}@{self.abi}" in calls
