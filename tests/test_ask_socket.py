"""The socket that questions are answered at: whoever keeps connections does not keep others from answering."""

from __future__ import annotations

import socket
from unittest import mock

import pytest

from isotrace.asking.replies import Replies
from isotrace.asking.socket import _CLIENTS, Client, Server, listen
from isotrace.errors import IsotraceError


@pytest.fixture
def place(tmp_path):
    """Where a server listens that has no questions."""
    replies = mock.create_autospec(Replies, instance=True)
    replies.listed.return_value = {"questions": []}
    path = str(tmp_path / "ask.sock")
    server = Server(listen(path), replies)
    server.start()
    yield path
    server.end()


def test_idle_connections_keep_nobody_out(place):
    idle = [socket.socket(socket.AF_UNIX) for _ in range(3 * _CLIENTS)]
    try:
        with Client(place) as speaking:
            for one in idle:
                one.connect(place)
                assert speaking.listed() == {"questions": []}
        with Client(place) as late:
            assert late.listed() == {"questions": []}
    finally:
        for one in idle:
            one.close()


def test_who_has_said_nothing_for_the_longest_goes_first(place):
    clients = [Client(place) for _ in range(_CLIENTS)]
    for one in reversed(clients):
        one.listed()
    with Client(place) as another:
        another.listed()
        assert all(one.listed() for one in clients[:-1])
        with pytest.raises(IsotraceError):
            clients[-1].listed()
    for one in clients:
        one.__exit__()
