"""A server that runs: on this machine only, at an address that nobody can guess."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from typing import Any, Self

from topoact_gpu.errors import ParameterError, TopoactError

from .graph_view import graph_table
from .server import make_app
from .session import Session

__all__ = ["HOST", "RunningServer"]

HOST = "127.0.0.1"
_START_SECONDS = 20.0
_STOP_SECONDS = 5.0


class RunningServer:
    """A server in a thread of its own.

    Parameters
    ----------
    session : Session
    port : int, optional
        By default one that is free.

    Attributes
    ----------
    session : Session
    address : str
        To open in a browser; the token in it is the password.

    Raises
    ------
    ParameterError
        The port is taken.
    TopoactError
        FastAPI or uvicorn is not installed.
    """

    def __init__(self, session: Session, *, port: int | None = None) -> None:
        uvicorn = _uvicorn()
        token = secrets.token_urlsafe(24)
        app = make_app(session, token)
        self.session = session
        self._socket = _bound(0 if port is None else port)
        self.address = f"http://{HOST}:{self._socket.getsockname()[1]}/{token}/"
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # addresses hold the token
            lifespan="off",
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=2,
        )
        self._server: Any = uvicorn.Server(config)
        self._warming: threading.Thread | None = None
        self._thread = threading.Thread(target=self._work, name="topoact-explore", daemon=True)
        self._thread.start()
        self._wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether it still answers."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop answering; a second call does nothing."""
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        if self._warming is not None:
            self._warming.join(_STOP_SECONDS)
        if not self.running:
            self._socket.close()

    def warm(self) -> None:
        """Begin to make the first graph, which the page will ask for first."""
        self._warming = threading.Thread(target=self._make_graph, name="topoact-warm", daemon=True)
        self._warming.start()

    def _make_graph(self) -> None:
        # whoever asks for it is told what is wrong
        with contextlib.suppress(TopoactError):
            graph_table(self.session.runs[0])

    def wait(self) -> None:
        """Return when the server has stopped."""
        while self.running:
            self._thread.join(0.5)

    def _work(self) -> None:
        self._server.run(sockets=[self._socket])

    def _wait(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self.running or time.monotonic() > end:
                self.stop()
                raise TopoactError("the explorer's server did not start; its messages are above")
            time.sleep(0.01)


def _uvicorn() -> Any:
    try:
        import uvicorn
    except ImportError as error:
        raise TopoactError(
            "the explorer needs uvicorn, which is not installed: pip install 'topoact-gpu[explore]'"
        ) from error
    return uvicorn


def _bound(port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise ParameterError(f"port must be from 0 to 65,535, got {port}")
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
    except OSError as error:
        found.close()
        raise ParameterError(
            f"port {port} cannot be used: {error.strerror}; leave out the port or choose another"
        ) from error
    return found
