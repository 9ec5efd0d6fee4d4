"""Addresses of the graph, search, selections and notes; each a call of a plain function."""

# annotations are evaluated where they stand: FastAPI reads those of the functions inside

from typing import Any

from .graph_view import graph_table, node_values
from .session import Session
from .tables import TABLE, encode_table, to_json

__all__ = ["add_routes", "json_response", "table_response"]


def json_response(value: Any) -> Any:
    """An answer in JSON; NaN is null."""
    from fastapi import Response

    return Response(to_json(value), media_type="application/json")


def table_response(table: bytes) -> Any:
    """An answer that `encode_table` made."""
    from fastapi import Response

    return Response(table, media_type=TABLE)


def add_routes(router: Any, session: Session) -> None:
    """Register all addresses of this module.

    Parameters
    ----------
    router : fastapi.APIRouter
    session : Session
    """
    _add_graph(router, session)


def _add_graph(router: Any, session: Session) -> None:
    from fastapi import Query

    @router.get("/session")
    def get_session() -> Any:
        return json_response(session.info())

    @router.get("/runs/{run}/graph")
    def get_graph(run: str, label: str | None = None) -> Any:
        return table_response(graph_table(session.run(run), label))

    @router.get("/runs/{run}/values")
    def get_values(
        run: str,
        kind: str,
        class_id: int | None = Query(None, alias="class"),
        column: str | None = None,
        label: str | None = None,
    ) -> Any:
        found = node_values(session.run(run), kind, label=label, class_id=class_id, column=column)
        return table_response(encode_table({}, {"values": found}))
