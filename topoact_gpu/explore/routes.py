"""Addresses of the graph, search, selections and notes; each a call of a plain function."""

# annotations are evaluated where they stand: FastAPI reads those of the functions inside

from typing import Annotated, Any

from .checks import limit_of, nodes_of, rows_in, rows_of, text_of
from .comparing import compare
from .graph_view import graph_table, node_values
from .notes import read_notes, write_notes
from .row_table import csv_parts, table_page
from .searching import members, suggest
from .selecting import describe_selection, nodes_of_rows
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
    _add_search(router, session)
    _add_selection(router, session)
    _add_rows(router, session)
    _add_notes(router, session)


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


def _add_search(router: Any, session: Session) -> None:
    from fastapi import Query

    @router.get("/runs/{run}/suggest")
    def get_suggest(run: str, q: str = "", limit: int = 20, label: str | None = None) -> Any:
        found = suggest(session.run(run), q, limit_of(limit), label)
        return json_response({"found": found})

    @router.get("/runs/{run}/members")
    def get_members(
        run: str, kind: str, number: int = Query(alias="id"), label: str | None = None
    ) -> Any:
        return table_response(encode_table(*members(session.run(run), kind, number, label)))


def _add_selection(router: Any, session: Session) -> None:
    @router.post("/runs/{run}/selection")
    def post_selection(run: str, body: dict[str, Any]) -> Any:
        view = session.run(run)
        label = text_of(body, "label")
        return json_response(describe_selection(view, nodes_of(view, body), label))

    @router.post("/runs/{run}/compare")
    def post_compare(run: str, body: dict[str, Any]) -> Any:
        view = session.run(run)
        a, b = nodes_of(view, body, "a"), nodes_of(view, body, "b")
        return json_response(compare(view, a, b, text_of(body, "label")))


def _add_rows(router: Any, session: Session) -> None:
    from fastapi.responses import StreamingResponse

    @router.post("/runs/{run}/rows")
    def post_rows(run: str, body: dict[str, Any]) -> Any:
        view = session.run(run)
        return json_response(table_page(view, nodes_of(view, body), body))

    @router.post("/runs/{run}/rows.csv")
    def post_csv(run: str, body: dict[str, Any]) -> Any:
        view = session.run(run)
        parts = csv_parts(view, nodes_of(view, body), body)
        headers = {"content-disposition": 'attachment; filename="rows.csv"'}
        return StreamingResponse(parts, media_type="text/csv; charset=utf-8", headers=headers)

    @router.post("/runs/{run}/row-ids")
    def post_row_ids(run: str, body: dict[str, Any]) -> Any:
        view = session.run(run)
        return table_response(encode_table({}, {"rows": rows_in(view, nodes_of(view, body))}))

    @router.post("/runs/{run}/row-nodes")
    def post_row_nodes(run: str, body: dict[str, Any]) -> Any:
        view = session.run(run)
        nodes, count = nodes_of_rows(view, rows_of(view, body))
        return table_response(encode_table({}, {"nodes": nodes, "count": count}))


def _add_notes(router: Any, session: Session) -> None:
    from fastapi import Body

    @router.get("/runs/{run}/notes")
    def get_notes(run: str) -> Any:
        return json_response(read_notes(session.run(run)))

    @router.put("/runs/{run}/notes")
    def put_notes(run: str, body: Annotated[Any, Body()]) -> Any:
        given = body.get("notes") if isinstance(body, dict) else body
        return json_response(write_notes(session.run(run), given))
