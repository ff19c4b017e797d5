"""System V IPC and POSIX message queues."""

from __future__ import annotations

from .layout import STRUCTS, Struct, add
from .scalars import octal, uid


def _perm(data: bytes) -> str:
    """A struct ipc64_perm in strace's order; the 64-bit (48 bytes) and the 32-bit one (36) agree as far as
    the mode.
    """
    key, user, group, creator, creators, mode = (int.from_bytes(data[at : at + 4], "little") for at in range(0, 24, 4))
    mode &= 0xFFFFFFFF if len(data) == 48 else 0xFFFF
    owner = f"uid={uid(user)}, gid={uid(group)}, mode={octal(mode)}"
    return f"{{{owner}, key={key}, cuid={uid(creator)}, cgid={uid(creators)}}}"


def _given(data: bytes) -> str:
    """What IPC_SET takes of it."""
    return f"{_perm(data).partition(', key=')[0]}}}"


STRUCTS["ipc_given"] = Struct(48, _given)
STRUCTS["ipc_given32"] = Struct(36, _given)
STRUCTS["ipc_perm"] = Struct(48, _perm)
STRUCTS["ipc_perm32"] = Struct(36, _perm)


def _msgbuf(word: int) -> Struct:
    def decode(data: bytes) -> str:
        return f"{{mtype={int.from_bytes(data, 'little', signed=True)}, ...}}"

    return Struct(word, decode)


def _shmid(data: bytes) -> str:
    """strace's order puts the pids and the attach count before the times."""
    size, access, detach, change = (int.from_bytes(data[at : at + 8], "little") for at in range(48, 80, 8))
    creator, last = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (80, 84))
    return _shmid_text(
        _perm(data[:48]), size, creator, last, int.from_bytes(data[88:96], "little"), (access, detach, change)
    )


def _shmid32(data: bytes) -> str:
    size, access, _, detach, _, change, _, creator, last, attached = (
        int.from_bytes(data[at : at + 4], "little") for at in range(36, 76, 4)
    )
    return _shmid_text(_perm(data[:36]), size, creator, last, attached, (access, detach, change))


def _shmid_text(perm: str, size: int, creator: int, last: int, attached: int, times: tuple[int, int, int]) -> str:
    return (
        f"{{shm_perm={perm}, shm_segsz={size}, shm_cpid={creator}, shm_lpid={last}, shm_nattch={attached}, "
        f"shm_atime={times[0]}, shm_dtime={times[1]}, shm_ctime={times[2]}}}"
    )


STRUCTS |= {
    "shmid_ds": Struct(112, _shmid),
    "shmid_ds32": Struct(84, _shmid32),
    "msgbuf": _msgbuf(8),
    "msgbuf32": _msgbuf(4),
}
add("""
semid_ds = sem_perm:48s:struct:ipc_perm sem_otime:Q -:8x sem_ctime:Q -:8x sem_nsems:Q -:16x
semid_ds32 = sem_perm:36s:struct:ipc_perm32 sem_otime:I -:4x sem_ctime:I -:4x sem_nsems:I -:8x
msqid_ds = msg_perm:48s:struct:ipc_perm msg_stime:Q msg_rtime:Q msg_ctime:Q -:8x msg_qnum:Q msg_qbytes:Q
    msg_lspid:i msg_lrpid:i -:16x
msqid_ds32 = msg_perm:36s:struct:ipc_perm32 msg_stime:I -:4x msg_rtime:I -:4x msg_ctime:I -:4x -:4x
    msg_qnum:I msg_qbytes:I msg_lspid:i
    msg_lrpid:i -:8x
semid_set = sem_perm:48s:struct:ipc_given -:56x
semid_set32 = sem_perm:36s:struct:ipc_given32 -:28x
shmid_set = shm_perm:48s:struct:ipc_given -:64x
shmid_set32 = shm_perm:36s:struct:ipc_given32 -:48x
msqid_set = msg_perm:48s:struct:ipc_given -:40x msg_qbytes:Q -:24x
msqid_set32 = msg_perm:36s:struct:ipc_given32 -:32x msg_qbytes:I -:16x
seminfo = semmap:i semmni:i semmns:i semmnu:i semmsl:i semopm:i semume:i semusz:i semvmx:i semaem:i
msginfo = msgpool:i msgmap:i msgmax:i msgmnb:i msgmni:i msgssz:i msgtql:i msgseg:H -:2x
shminfo = shmmax:Q shmmin:Q shmmni:Q shmseg:Q shmall:Q -:32x
shminfo32 = shmmax:I shmmin:I shmmni:I shmseg:I shmall:I -:16x
shm_info = used_ids:i -:4x shm_tot:Q shm_rss:Q shm_swp:Q swap_attempts:Q swap_successes:Q
shm_info32 = used_ids:i shm_tot:I shm_rss:I shm_swp:I swap_attempts:I swap_successes:I
sembuf = sem_num:H sem_op:h sem_flg:H:flags:semop_flags
mq_attr = mq_flags:Q:flags:mq_attr_flags mq_maxmsg:q mq_msgsize:q mq_curmsgs:q -:32x
mq_attr32 = mq_flags:I:flags:mq_attr_flags mq_maxmsg:i mq_msgsize:i mq_curmsgs:i -:16x
""")
