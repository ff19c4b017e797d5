"""Times, clocks and resource use."""

from __future__ import annotations

import struct
import time

from . import style
from .layout import STRUCTS, Struct, add, add_full

add("""
timespec = tv_sec:q tv_nsec:Q
timespec32 = tv_sec:i tv_nsec:I
timeval = tv_sec:q tv_usec:Q
timeval32 = tv_sec:i tv_usec:I
itimerspec = it_interval:16s:struct:timespec it_value:16s:struct:timespec
itimerspec32 = it_interval:8s:struct:timespec32 it_value:8s:struct:timespec32
itimerval = it_interval:16s:struct:timeval it_value:16s:struct:timeval
itimerval32 = it_interval:8s:struct:timeval32 it_value:8s:struct:timeval32
timezone = tz_minuteswest:i tz_dsttime:i
tms = tms_utime:Q:ticks tms_stime:Q:ticks tms_cutime:Q:ticks tms_cstime:Q:ticks
tms32 = tms_utime:I:ticks tms_stime:I:ticks tms_cutime:I:ticks tms_cstime:I:ticks
rusage = ru_utime:16s:struct:timeval ru_stime:16s:struct:timeval ... -:112x
rusage32 = ru_utime:8s:struct:timeval32 ru_stime:8s:struct:timeval32 ... -:56x
timex = modes:I:flags:adjtimex_modes -:4x offset:q freq:q maxerror:q esterror:q
    status:I:flags:adjtimex_status -:4x constant:q precision:q
    tolerance:q time:16s:struct:timeval tick:q ppsfreq:q jitter:q shift:i -:4x stabil:q jitcnt:q calcnt:q
    errcnt:q stbcnt:q tai:i -:44x
timex32 = modes:I:flags:adjtimex_modes offset:i freq:i maxerror:i esterror:i status:I:flags:adjtimex_status
    constant:i precision:i
    tolerance:i time:8s:struct:timeval32 tick:i ppsfreq:i jitter:i shift:i stabil:i jitcnt:i calcnt:i
    errcnt:i stbcnt:i tai:i -:44x
sysinfo = uptime:Q loads:3Q totalram:Q freeram:Q sharedram:Q bufferram:Q totalswap:Q freeswap:Q procs:H -:6x
    totalhigh:Q freehigh:Q mem_unit:I -:4x
sysinfo32 = uptime:I loads:3I totalram:I freeram:I sharedram:I bufferram:I totalswap:I freeswap:I procs:H
    -:2x totalhigh:I freehigh:I mem_unit:I -:8x
rtc_time = tm_sec:i tm_min:i tm_hour:i tm_mday:i tm_mon:i tm_year:i ... -:12x
rtc_wkalrm = enabled:B pending:B -:2x time:36s:struct:rtc_time
rtc_pll_info = pll_ctrl:i pll_value:i pll_max:i pll_min:i pll_posmult:i pll_negmult:i -:4x pll_clock:q
""")

add_full("""
rusage = ru_utime:16s:struct:timeval ru_stime:16s:struct:timeval ru_maxrss:Q ru_ixrss:Q ru_idrss:Q ru_isrss:Q
    ru_minflt:Q ru_majflt:Q ru_nswap:Q ru_inblock:Q ru_oublock:Q ru_msgsnd:Q ru_msgrcv:Q ru_nsignals:Q
    ru_nvcsw:Q ru_nivcsw:Q
rusage32 = ru_utime:8s:struct:timeval32 ru_stime:8s:struct:timeval32 ru_maxrss:I ru_ixrss:I ru_idrss:I ru_isrss:I
    ru_minflt:I ru_majflt:I ru_nswap:I ru_inblock:I ru_oublock:I ru_msgsnd:I ru_msgrcv:I ru_nsignals:I
    ru_nvcsw:I ru_nivcsw:I
rtc_time = tm_sec:i tm_min:i tm_hour:i tm_mday:i tm_mon:i tm_year:i tm_wday:i tm_yday:i tm_isdst:i
""")

_UTIME = {0x3FFFFFFF: "UTIME_NOW", 0x3FFFFFFE: "UTIME_OMIT"}


def date(seconds: int, fraction: int = 0, digits: int = 9) -> str:
    """The comment strace adds to a time: `` /* 2024-05-01T12:00:00.000000001+0000 */`` (local time); none
    for the epoch itself.
    """
    if (not seconds and not fraction) or not 0 <= fraction < 10**digits:
        return ""
    try:
        local = time.localtime(seconds)
    except (OverflowError, ValueError, OSError):
        return ""
    if local.tm_year > 9999:
        return ""
    point = f".{fraction:0{digits}}" if fraction else ""
    return f" /* {time.strftime('%Y-%m-%dT%H:%M:%S', local)}{point}{time.strftime('%z', local)} */"


def _utimens(code: str) -> Struct:
    packed = struct.Struct(code)

    def decode(data: bytes) -> str:
        seconds, nanoseconds = packed.unpack(data)
        fields = f"{{tv_sec={seconds}, tv_nsec={nanoseconds}}}"
        special = _UTIME.get(nanoseconds)
        return style.constant(fields, special) if special else fields + date(seconds, nanoseconds)

    return Struct(packed.size, decode)


def _utimbuf(code: str) -> Struct:
    packed = struct.Struct(code)

    def decode(data: bytes) -> str:
        access, modified = packed.unpack(data)
        return f"{{actime={access}{date(access)}, modtime={modified}{date(modified)}}}"

    return Struct(packed.size, decode)


def _time(code: str) -> Struct:
    packed = struct.Struct(code)

    def decode(data: bytes) -> str:
        (seconds,) = packed.unpack(data)
        return f"[{seconds}{date(seconds)}]"

    return Struct(packed.size, decode)


STRUCTS |= {
    "utimens": _utimens("<qQ"),
    "utimens32": _utimens("<iI"),
    "utimbuf": _utimbuf("<qq"),
    "utimbuf32": _utimbuf("<ii"),
    "time": _time("<q"),
    "time32": _time("<i"),
}
