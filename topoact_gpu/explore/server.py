"""The explorer's server: routes and errors around a session."""

from __future__ import annotations

from typing import Any

from topoact_gpu.errors import StoreError, TopoactError

from .faults import Conflict, Forbidden, NotFound
from .guard import FAILED, Guard
from .pages import page_file
from .session import Session
from .tables import to_json

__all__ = ["make_app", "status_of"]


def make_app(session: Session, token: str) -> Any:
    """Make the ASGI application that shows a session.

    Parameters
    ----------
    session : Session
    token : str
        First part of every address; what has another is 404.

    Returns
    -------
    Guard

    Raises
    ------
    TopoactError
        FastAPI is not installed.
    """
    fastapi = _fastapi()
    from .routes import add_routes
    from .routes_data import add_data_routes

    app = fastapi.FastAPI(title="topoact", docs_url=None, redoc_url=None, openapi_url=None)
    _add_error_handlers(app)
    router = fastapi.APIRouter(prefix="/api")
    add_routes(router, session)
    add_data_routes(router, session)
    app.include_router(router)
    _add_page(app)
    return Guard(app, token)


def _fastapi() -> Any:
    try:
        import fastapi
    except ImportError as error:
        raise TopoactError(
            "the explorer needs fastapi, which is not installed: pip install 'topoact-gpu[explore]'"
        ) from error
    return fastapi


def _add_page(app: Any) -> None:
    from fastapi import Response

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

    @app.api_route("/api/{name:path}", methods=methods)  # type: ignore[untyped-decorator]
    def nothing(name: str) -> Any:
        raise NotFound("there is nothing at this address")

    @app.get("/{name:path}")  # type: ignore[untyped-decorator]
    def page(name: str) -> Any:
        found = page_file(name)
        if found is None:
            raise NotFound("there is nothing at this address")
        return Response(found[0], media_type=found[1])


def status_of(error: TopoactError) -> int:
    """The HTTP status that tells of an error."""
    for kind, status in ((NotFound, 404), (Conflict, 409), (Forbidden, 403), (StoreError, 500)):
        if isinstance(error, kind):
            return status
    return 422


def _add_error_handlers(app: Any) -> None:
    """Every error is JSON with one sentence."""
    from fastapi import Request, Response
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    def answer(status: int, message: str) -> Response:
        return Response(to_json({"error": message}), status, media_type="application/json")

    def expected(request: Request, error: Exception) -> Response:
        assert isinstance(error, TopoactError)
        return answer(status_of(error), " ".join(str(error).split()))

    def unreadable(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first: dict[str, Any] = dict(error.errors()[0])
        where = ".".join(str(part) for part in first.get("loc", ())[1:]) or "the body"
        return answer(422, f"{where[:80]}: {first.get('msg', 'cannot be read')}")

    def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer(error.status_code, str(error.detail))

    def failed(request: Request, error: Exception) -> Response:
        return answer(500, FAILED)  # the guard writes down why

    app.add_exception_handler(TopoactError, expected)
    app.add_exception_handler(RequestValidationError, unreadable)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, failed)
