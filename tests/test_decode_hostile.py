"""Whatever a traced process wrote: no decoder raises, and none lets a control or a non-ASCII character
through.
"""

from __future__ import annotations

import ast
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isotrace.decode import errnos, scalars, signals, xlat
from isotrace.decode.dirents import DIRENTS, DIRENTS32, DIRENTS64
from isotrace.decode.quote import comm, cstring, escape, quote
from isotrace.decode.sockaddr import cmsgs, sockaddr
from isotrace.decode.structs import STRUCTS, fdset, poll_result, wait_status

PRINTABLE = re.compile(r"[ -~]*")
REGISTER = st.integers(0, 2**64 - 1) | st.integers(0, 2**16) | st.integers(0, 63).map(lambda n: 1 << n)
FAMILY = st.sampled_from([0, 1, 2, 10, 16, 17, 38, 40, 99]).map(lambda n: n.to_bytes(2, "little"))
SETS = sorted([*xlat.SETS, "ioctl_cmds"])


def safe(text: str) -> bool:
    return PRINTABLE.fullmatch(text) is not None


@pytest.mark.parametrize("name", sorted(STRUCTS))
@settings(max_examples=25)
@given(data=st.data())
def test_struct(name: str, data: st.DataObject) -> None:
    size = STRUCTS[name].size
    content = data.draw(st.binary(min_size=size, max_size=size))
    for known in (STRUCTS[name], STRUCTS[name].full or STRUCTS[name]):
        text = known.decode(content)
        assert text
        assert safe(text)


@pytest.mark.parametrize("fill", [0x00, 0x01, 0x0A, 0x7F, 0x80, 0xFF])
def test_struct_of_one_byte_value(fill: int) -> None:
    assert all(safe(struct.decode(bytes([fill]) * struct.size)) for struct in STRUCTS.values())


@pytest.mark.parametrize("name", SETS)
@settings(max_examples=15)
@given(value=REGISTER)
def test_set(name: str, value: int) -> None:
    texts = [xlat.flags(name, value), xlat.enum(name, value)]
    assert all(text and safe(text) for text in texts)


@given(family=FAMILY | st.just(b""), rest=st.binary(max_size=150), length=st.integers(-5, 300))
def test_sockaddr(family: bytes, rest: bytes, length: int) -> None:
    assert safe(sockaddr(family + rest, length))


@given(data=st.binary(max_size=200), word=st.sampled_from([4, 8]))
def test_control_messages(data: bytes, word: int) -> None:
    assert safe(cmsgs(data, word))


@given(level=st.sampled_from([0, 1, 41]), kind=st.integers(0, 40), body=st.binary(max_size=40))
def test_well_formed_control_message(level: int, kind: int, body: bytes) -> None:
    head = (16 + len(body)).to_bytes(8, "little") + level.to_bytes(4, "little") + kind.to_bytes(4, "little")
    assert safe(cmsgs(head + body))


@given(st.binary(max_size=300), st.booleans())
def test_quote_is_a_literal_of_the_same_bytes(data: bytes, cut: bool) -> None:
    text = quote(data, cut)
    assert safe(text)
    assert text.endswith("...") == cut
    assert ast.literal_eval("b" + text.removesuffix("...")) == data


@given(st.binary(max_size=32))
def test_names(data: bytes) -> None:
    assert safe(comm(data))
    assert safe(cstring(data))
    assert safe(escape(data))


@given(REGISTER)
def test_scalars(value: int) -> None:
    functions = (
        scalars.fd,
        scalars.dirfd,
        scalars.uid,
        scalars.uid16,
        scalars.mode,
        scalars.modetype,
        scalars.dev,
        scalars.ptr,
    )
    assert all(safe(function(value)) for function in (*functions, signals.signal, signals.sigset, wait_status))
    assert -(2**31) <= scalars.s32(value) < 2**31
    assert scalars.s64(value) % 2**64 == value


@given(st.integers(0, 2**32))
def test_errnos(number: int) -> None:
    assert safe(errnos.errno_text(number))
    assert safe(errnos.result_text(number))


@given(st.binary(max_size=300), st.integers(0, 40))
def test_counts_and_sets(data: bytes, n: int) -> None:
    assert 0 <= DIRENTS64.count(data) <= len(data)
    assert 0 <= DIRENTS.count(data) <= len(data)
    assert all(safe(text) for layout in (DIRENTS, DIRENTS32, DIRENTS64) for text in layout.entries(data))
    assert safe(poll_result(data, n))
    assert safe(fdset(data, n))
