"""The process through which GDAL's requests leave: a SOCKS 5 proxy on this machine that judges each connection.

GDAL resolves names and follows redirects itself, and no option stops it; through SOCKS it hands every host over by name
(RFC 1928) and nothing is read of what goes through. A process of its own, since GDAL may hold Python's lock while it
waits for an answer. It ends when its standard input does, so that it outlives no reader.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import os
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress

from tilewright.catalogs.network.connect import HostRules, RefusedError, Resolve, connect_first, resolved

HANDSHAKE_S = 15.0

CONNECT_S = 12.0
"""Below GDAL's own time for a connection (catalogs/gdal.py), so that the reason reaches it."""

PIECE = 2**18
"""Bytes passed on at a time."""

GRANTED, REFUSED, NO_HOST, NO_CONNECTION, NO_ANSWER, UNKNOWN = 0, 2, 4, 5, 6, 7
"""Replies. Source: RFC 1928, section 6."""

USER = b"tilewright"


def main(resolve: Resolve = resolved) -> None:
    """Serve the rules and the password of the first line of standard input, until that is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    given = json.loads(sys.stdin.readline())
    rules, password = HostRules.from_json(given["rules"]), given["password"].encode()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        sys.stdout.write(f"{server.getsockname()[1]}\n")
        sys.stdout.flush()
        threading.Thread(target=_end_with_reader, daemon=True).start()
        while True:
            client, _ = server.accept()
            threading.Thread(target=_serve, args=(client, rules, password, resolve), daemon=True).start()


def _end_with_reader() -> None:
    sys.stdin.read()
    os._exit(0)


def _serve(client: socket.socket, rules: HostRules, password: bytes, resolve: Resolve) -> None:
    with client, suppress(OSError, EOFError, UnicodeError, ValueError):
        client.settimeout(HANDSHAKE_S)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not _is_ours(client, password):
            return
        place = _asked(client)
        if place is None:
            client.sendall(_reply(UNKNOWN))
            return
        upstream = _connected(client, place, rules, resolve)
        if upstream is None:
            return
        with upstream:
            client.sendall(_reply(GRANTED))
            client.settimeout(None)
            back = threading.Thread(target=_pass_on, args=(upstream, client), daemon=True)
            back.start()
            _pass_on(client, upstream)
            back.join()


def _is_ours(client: socket.socket, password: bytes) -> bool:
    """True for a client that knows the password. Source: RFC 1929."""
    version, n_methods = _exactly(client, 2)
    if version != 5:
        return False
    if 2 not in _exactly(client, n_methods):
        client.sendall(b"\x05\xff")
        return False
    client.sendall(b"\x05\x02")
    user = _exactly(client, _exactly(client, 2)[1])
    given = _exactly(client, _exactly(client, 1)[0])
    known = hmac.compare_digest(user, USER) & hmac.compare_digest(given, password)
    client.sendall(b"\x01\x00" if known else b"\x01\x01")
    return known


def _asked(client: socket.socket) -> tuple[str, int] | None:
    """(host, port) of a request to connect, None for another one."""
    _, command, _, kind = _exactly(client, 4)
    if kind == 3:
        host = _exactly(client, _exactly(client, 1)[0]).decode()
    elif kind in {1, 4}:
        host = str(ipaddress.ip_address(_exactly(client, 4 if kind == 1 else 16)))
    else:
        return None
    (port,) = struct.unpack("!H", _exactly(client, 2))
    return (host, port) if command == 1 else None


def _connected(
    client: socket.socket, place: tuple[str, int], rules: HostRules, resolve: Resolve
) -> socket.socket | None:
    """A connection to the place; None where there is none and the client was told."""
    try:
        return connect_first(rules.addresses(*place, resolve), CONNECT_S)
    except RefusedError:
        code = REFUSED
    except socket.gaierror:
        code = NO_HOST
    except TimeoutError:
        code = NO_ANSWER
    except (OSError, UnicodeError):
        code = NO_CONNECTION
    client.sendall(_reply(code))
    return None


def _reply(code: int) -> bytes:
    return struct.pack("!BBBB4sH", 5, code, 0, 1, bytes(4), 0)


def _exactly(client: socket.socket, n_bytes: int) -> bytes:
    content = b""
    while len(content) < n_bytes:
        piece = client.recv(n_bytes - len(content))
        if not piece:
            raise EOFError
        content += piece
    return content


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes, until one side ends; the other one is then told."""
    piece = memoryview(bytearray(PIECE))
    with suppress(OSError):
        while n_bytes := source.recv_into(piece):
            target.sendall(piece[:n_bytes])
    for one, side in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with suppress(OSError):
            one.shutdown(side)


if __name__ == "__main__":
    main()
