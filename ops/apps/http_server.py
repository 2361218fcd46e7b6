"""Serve an app over HTTP, on an address or on sockets that are open already."""

import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

import uvicorn
from fastapi import FastAPI

from core.errors import NotReady
from core.settings import split_listen
from ops.apps.http_protocol import ClientProtocol

KEEP_ALIVE_SECONDS = 75
# How long requests may take after SIGTERM.
DRAIN_SECONDS = 10
# Connections that wait to be accepted.
BACKLOG = 2048
STARTUP_FAILURE = 3


def serve(
    app: FastAPI,
    listen: str,
    proxies: Sequence[str] = (),
    *,
    drain_s: int = DRAIN_SECONDS,
    sockets: list[socket.socket] | None = None,
) -> None:
    """Serves until a signal ends the process. With `sockets`, it accepts connections on them instead of on `listen`."""
    signal.signal(signal.SIGHUP, app.state.reloader.on_signal)
    # The supervisor of workers keeps the signal back until here.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    host, port = split_listen(listen)
    # Clients drop idle connections after some seconds; a server that did so at the same moment would break
    # the request that is just being sent on one.
    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "access_log": False,
        "log_config": None,
        "http": ClientProtocol,
        "ws": "none",
        "backlog": BACKLOG,
        "timeout_graceful_shutdown": drain_s,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "proxy_headers": bool(proxies),
        "forwarded_allow_ips": list(proxies),
        "server_header": False,
    }
    if sockets is None:
        uvicorn.run(app, **options)
        return
    server = uvicorn.Server(uvicorn.Config(app, **options))
    server.run(sockets)
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def open_sockets(listen: str) -> list[socket.socket]:
    """Listens on an address, or on all of a name's. Raises NotReady if that is not possible."""
    host, port = split_listen(listen)
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            sockets.append(socket.create_server(address[:2], family=family, backlog=BACKLOG))
    except OSError as error:
        for each in sockets:
            each.close()
        raise NotReady(
            f"gateway.listen {listen} cannot be used: {error.strerror}.",
            hint="Stop what listens there, or set another gateway.listen in the configuration.",
        ) from error
    for each in sockets:
        each.setblocking(False)
    return sockets
