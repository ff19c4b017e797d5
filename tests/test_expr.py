"""The --calls expression."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isotrace import catalog
from isotrace.catalog import expr, families, rings
from isotrace.errors import UsageError

EVERY = catalog.names()


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("openat", {"openat"}),
        ("openat,connect", {"openat", "connect"}),
        (" openat , connect ", {"openat", "connect"}),
        ("socketcall,mmap2", {"socketcall", "mmap2"}),
        ("openat,!openat,close", {"close"}),
        ("read,write,!read", {"write"}),
        ("!read,read", EVERY),
        ("all", EVERY),
        ("!read", EVERY - {"read"}),
        ("! read", EVERY - {"read"}),
        ("none,read", {"read"}),
        ("all,!all,read", {"read"}),
        ("%network", families.table()["%network"]),
        ("%net", families.table()["%network"]),
        ("network", families.table()["%network"]),
        ("stat", {"stat"}),
        ("@file-system,!%stat", families.table()["@file-system"] - families.table()["%stat"]),
        ("/^openat/", {"openat", "openat2"}),
        ("/^openat$/,close", {"openat", "close"}),
        ("/^(openat|clos.{1,1})$/,read", {"openat", "close", "read"}),
        ("!/./,read", {"read"}),
        ("open@i386,read", {"open@i386", "read"}),
        ("open@32,open@64", {"open"}),
        ("open,!open@i386", {"open@x86_64"}),
        ("open,open@i386", {"open"}),
        ("open@i386,!open,read", {"read"}),
        ("mmap2@i386", {"mmap2"}),
        ("readv@x32,!readv@32", {"readv@x32"}),
        ("?nosuch,read", {"read"}),
        ("?%nosuch,?read,?open@i386,?read@x99", {"read", "open@i386"}),
        ("!?nosuch,!open@i386", EVERY - {"open"} | {"open@x86_64"}),
        ("io_uring:openat,read", {"io_uring:openat", "read"}),
        ("%io_uring", rings.names()),
        ("io_uring:*,!io_uring:unknown", rings.names() - {"io_uring:unknown"}),
        ("?io_uring:nosuch,read", {"read"}),
        ("all,%io_uring", EVERY | rings.names()),
        ("ipc", families.table()["%ipc"] | {"ipc"}),
    ],
)
def test_selection(text, selected):
    assert expr.parse(text) == selected


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("opne", 'unknown system call "opne"', "did you mean open, "),
        ("read,wirte", 'unknown system call "wirte"', "write"),
        ("?nosuch", "selects no system call", "isotrace calls"),
        ("io_uring:opnat", 'unknown operation "io_uring:opnat"', "io_uring:openat"),
        ("opne@i386", 'unknown system call "opne"', "open"),
        ("open@arm", 'unknown ABI "arm"', "open@i386"),
        ("open@x32", "x32 has no open", "x86_64, i386"),
        ("mmap2@64", "x86_64 has no mmap2", "i386"),
        ("OPENAT", 'unknown system call "OPENAT"', "isotrace calls"),
        ("%netwrk", 'unknown family "%netwrk"', "%network"),
        ("@filesystem", 'unknown family "@filesystem"', "@file-system"),
        ("!opne", 'unknown system call "opne"', "open"),
        ("zzzzzzzz", 'unknown system call "zzzzzzzz"', "isotrace calls"),
        ("none", "selects no system call", "isotrace calls"),
        ("read,!read", "selects no system call", "isotrace calls"),
        ("", "empty term", "openat"),
        ("read,,write", "empty term", "openat"),
        ("!", 'unknown system call ""', "isotrace calls"),
        ("/open", "is not between slashes", "/^open/"),
        ("//", "is not between slashes", "/^open/"),
        ("/(/", "bad regular expression", ""),
        ("/zzz/", "matches no system call", "isotrace calls"),
        ("a\nb\x1b[31m", r'unknown system call "a\x0ab\x1b[31m"', "isotrace calls"),
    ],
)
def test_errors_say_what_and_what_instead(text, message, hint):
    with pytest.raises(UsageError) as caught:
        expr.parse(text)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.status == 2


TERMS = st.sampled_from(["read", "%file", "@aio", "/^o/", "all", "none", "stat", "socketcall"])


@given(st.one_of(st.text(), st.text(alphabet="!,/%@()[]*?\\ abcopenat\n")))
@example("/((((((((((/")
@example("/a{99999999999}/")
@example("!/")
@example("/\\")
def test_any_text_selects_known_names_or_is_refused_in_one_line(text):
    try:
        assert {name.partition("@")[0] for name in expr.parse(text)} <= EVERY
    except UsageError as error:
        assert (error.message + error.hint).isprintable()


@given(st.lists(st.tuples(st.booleans(), TERMS), min_size=1, max_size=6))
def test_terms_apply_from_left_to_right(terms):
    text = ",".join(("!" if remove else "") + term for remove, term in terms)
    chosen = set(EVERY) if terms[0][0] else set()
    for remove, term in terms:
        one = {"none": set(), "all": set(EVERY)}.get(term)
        names = one if one is not None else expr.parse(term)
        chosen = chosen - names if remove else chosen | names
    if chosen:
        assert expr.parse(text) == chosen
    else:
        with pytest.raises(UsageError):
            expr.parse(text)
