"""A small internet on this machine: names with the addresses a test gives them, and public addresses that are served.

A connection to a public address, once judged, goes to 127.0.0.1 in place of it. The same table holds in this process
and in the one that GDAL's requests leave through.
"""

from __future__ import annotations

import json
import socket
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tilewright.catalogs.network import client, connect, egress, process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PUBLIC = "93.184.216.34"
"""An address of the public internet that stands for this machine."""

PROGRAM = "import sys; from tests.support.name_table import serve; serve(sys.argv[1])"


class Names:
    """The resolver of a table: each name has a list of answers, of which the last one stays."""

    def __init__(self, table: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self.table = table
        self.asked: Counter[str] = Counter()

    def __call__(self, host: str, port: int) -> list[tuple[Any, ...]]:
        if host not in self.table:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        answers = self.table[host]
        answer = answers[min(self.asked[host], len(answers) - 1)]
        self.asked[host] += 1
        return [found for address in answer for found in socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)]


def connect_here(answers: Sequence[tuple[Any, ...]], timeout_s: float) -> socket.socket:
    """A connection to the first address; the public one is this machine."""
    here = [(*answer[:4], ("127.0.0.1", answer[4][1])) for answer in answers if answer[4][0] == PUBLIC]
    return _connect_first(here or answers, timeout_s)


_connect_first = connect.connect_first


def serve(table: str) -> None:
    """The process of GDAL's requests, with the table."""
    egress.connect_first = connect_here
    egress.main(Names(json.loads(table)))


@contextmanager
def internet(table: Mapping[str, Sequence[Sequence[str]]]) -> Iterator[None]:
    """The table in force for every client."""
    command = (sys.executable, "-c", PROGRAM, json.dumps(table))
    process.close_all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connect, "resolved", Names(table))
        patch.setattr(client, "connect_first", connect_here)
        patch.setattr(process, "COMMAND", command)
        try:
            yield
        finally:
            process.close_all()
