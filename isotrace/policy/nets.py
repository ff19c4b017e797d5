"""The words of ``--deny-net`` and ``--allow-net``.

[tcp:|udp:|any:]ADDRESS[/BITS][:PORT[-PORT]]    tcp:10.0.0.0/8:443   [::1]:80   fd00::/8   udp:*:1-1023   :53
unix:PATTERN   unix:@NAME   unix:               unix:/run/docker.sock   unix:@dbus*
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

from isotrace.catalog.expr import show
from isotrace.errors import UsageError
from isotrace.policy import patterns
from isotrace.policy.model import PROTOCOLS, Action, NetRule

_FORM = "write it like tcp:10.0.0.0/8:443, [::1]:80, :53 or unix:/run/docker.sock"
_EVERY = ("", "*")
_MAX_PORT = 65535
_MAX_ABSTRACT = 107  # sizeof(sun_path) less the NUL that makes it abstract


def parse(text: str, *, allow: bool, action: Action | None = None, group: str = "") -> NetRule:
    """The rule that ``text`` writes. Raises ``UsageError``."""
    match = re.match(r"([a-z]+):", text) if ":" in text else None
    protocol = match[1] if match and not _is_hex(text) else "any"
    if protocol not in PROTOCOLS:
        hint = f"one of {', '.join(PROTOCOLS)}; hosts are written as addresses, not as names"
        raise UsageError(f"unknown protocol {show(protocol)} in {show(text)}", hint)
    rest = text[len(protocol) + 1 :] if text.startswith(protocol + ":") else text
    made = action or Action()
    if protocol == "unix":
        return _unix(text, rest, allow, made, group)
    if not rest and protocol == "any" and text != "any:":
        raise UsageError("an empty address", _FORM)
    host, ports = _divide(rest, text)
    network = _network(host, text)
    return NetRule(text, allow, protocol, network, _ports(ports, text), action=made, group=group)  # type: ignore[arg-type]


def _is_hex(text: str) -> bool:
    """``fe80::1`` begins like a protocol but is an address."""
    return re.match(r"[0-9a-f]{1,4}:", text) is not None and text.count(":") > 1


def _unix(asked: str, rest: str, allow: bool, action: Action, group: str) -> NetRule:
    path, abstract = None, None
    if rest.startswith("@"):
        abstract = rest[1:]
        if not abstract.isprintable() or not 0 < len(abstract.encode()) <= _MAX_ABSTRACT:
            raise UsageError(f"{show(asked)} names no abstract socket", "write it like unix:@dbus-1 or unix:@*")
    elif rest not in _EVERY:
        path = patterns.parse(rest)
    return NetRule(asked, allow, "unix", path=path, abstract=abstract, action=action, group=group)


def _divide(rest: str, asked: str) -> tuple[str, str | None]:
    """Address and ports; brackets keep the colons of IPv6 apart from the port's."""
    if rest.startswith("["):
        match = re.fullmatch(r"\[([^\]]*)\](/\d+)?(?::(.*))?", rest)
        if not match:
            raise UsageError(f"bad address {show(asked)}", "write IPv6 with a port like [fd00::]/8:443 or [::1]:80")
        return match[1] + (match[2] or ""), match[3]
    if rest.count(":") > 1:
        return rest, None
    host, colon, ports = rest.partition(":")
    return host, ports if colon else None


def _network(host: str, asked: str) -> IPv4Network | IPv6Network | None:
    if host in _EVERY:
        return None
    if "%" in host:
        raise UsageError(f"{show(asked)} names an interface", "rules are about addresses: leave %… out")
    try:
        network = ip_network(host, strict=False)
    except ValueError:
        raise UsageError(f"{show(host)} is no address or network", _host_hint(host)) from None
    if host in ("0.0.0.0", "::"):
        hint = f"{host}/0 is every address, {host}/{network.prefixlen} this host by an address that the kernel chooses"
        raise UsageError(f"{show(host)} alone can mean two things", hint)
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
        return IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network


def _host_hint(host: str) -> str:
    if host == "localhost":
        return "write 127.0.0.0/8 and ::1, one rule each"
    if re.search(r"[g-z]", host):
        return "the kernel sees addresses, not names: `getent ahosts NAME` shows them"
    return _FORM


def _ports(text: str | None, asked: str) -> tuple[int, int] | None:
    if text is None or text == "*":
        return None
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not low <= high <= _MAX_PORT:
        raise UsageError(f"bad port {show(text)} in {show(asked)}", "write 443 or 8000-8999, at most 65535")
    return low, high
