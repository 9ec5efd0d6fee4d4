"""Addresses of pictures, projections, flows between layers, and recomputing."""

# annotations are evaluated where they stand: FastAPI reads those of the functions inside

from collections.abc import Callable
from typing import Any

import numpy as np

from topoact_gpu.errors import ParameterError

from . import flows, images, projection, recompute
from .faults import NotFound
from .jobs import Jobs
from .routes import json_response, table_response
from .run_view import RunView
from .session import Session
from .tables import encode_table

__all__ = ["add_data_routes"]

MOST_NODES = 1_000_000


def add_data_routes(router: Any, session: Session) -> None:
    """Register all addresses of this module.

    Parameters
    ----------
    router : fastapi.APIRouter
    session : Session
        Where it may only read, recomputing has no addresses.
    """
    _add_images(router, session)
    _add_projection(router, session)
    _add_layers(router, session)
    if not session.read_only:
        _add_recompute(router, session, Jobs())


def _add_images(router: Any, session: Session) -> None:
    from fastapi import Query, Response

    def file(found: tuple[bytes, str]) -> Response:
        return Response(found[0], media_type=found[1])

    @router.get("/runs/{run}/patch/{row}")
    def get_patch(run: str, row: int, side: int = 96) -> Any:
        return file(images.patch(session.run(run), row, side))

    @router.get("/runs/{run}/input/{row}")
    def get_input(run: str, row: int, side: int = 512) -> Any:
        return file(images.whole(session.run(run), row, side))

    @router.get("/runs/{run}/average/{node}")
    def get_average(
        run: str,
        node: int,
        class_id: int | None = Query(None, alias="class"),
        side: int = 96,
        label: str | None = None,
    ) -> Any:
        view = session.run(run)
        return file(images.average(view, rows_of_node(view, node, class_id, label), side))


def rows_of_node(
    view: RunView, node: int, class_id: int | None = None, label: str | None = None
) -> Any:
    """Rows of a node, those of one class where it is given; int64[n].

    Raises
    ------
    NotFound
        There is no such node.
    """
    if not 0 <= node < view.graph.n_nodes:
        raise NotFound(f"nodes are 0 to {view.graph.n_nodes - 1:,}, got {node:,}")
    rows = np.asarray(view.graph.node_rows(node))
    if class_id is None:
        return rows
    label = view.checked_label(label)
    if label is None:
        raise ParameterError(f"{view.name} has no classes, so class must be left out")
    return rows[view.class_codes(label)[0][rows] == class_id]


def _add_projection(router: Any, session: Session) -> None:
    from fastapi import Body

    @router.get("/runs/{run}/projections")
    def get_projections(run: str) -> Any:
        return json_response(projection.projections(session.run(run)))

    @router.get("/runs/{run}/projection")
    def get_projection(
        run: str, method: str = "pca", limit: int = projection.LIMIT, label: str | None = None
    ) -> Any:
        view = session.run(run)
        return table_response(
            encode_table(*projection.projection_table(view, method, limit=limit, label=label))
        )

    @router.post("/runs/{run}/project-selection")
    def project_selection(run: str, body: dict[str, Any] = Body()) -> Any:  # noqa: B008
        view, nodes = session.run(run), _nodes(body.get("nodes"))
        found = projection.selection_table(view, nodes, label=_text(body, "label"))
        return table_response(encode_table(*found))


def _add_layers(router: Any, session: Session) -> None:
    from fastapi import Body

    @router.post("/flows")
    def post_flows(body: dict[str, Any] = Body()) -> Any:  # noqa: B008
        first, second = (session.run(_id(body, name)) for name in ("from", "to"))
        nodes = None if body.get("nodes") is None else _nodes(body["nodes"])
        return json_response(flows.flows(first, second, nodes, _whole(body, "limit", 200)))

    @router.post("/separation")
    def post_separation(body: dict[str, Any] = Body()) -> Any:  # noqa: B008
        classes = _ids("classes", body.get("classes"), 2)
        return json_response(
            flows.separation(session, _id(body, "store"), classes, _text(body, "label"))
        )


def _add_recompute(router: Any, session: Session, jobs: Jobs) -> None:
    from fastapi import Body

    @router.get("/runs/{run}/knee")
    def get_knee(run: str) -> Any:
        return json_response(recompute.knee_curve(session.run(run)))

    @router.post("/runs/{run}/recompute")
    def post_recompute(run: str, body: dict[str, Any] = Body()) -> Any:  # noqa: B008
        view = session.run(run)
        recipe = recompute.read_settings(view, body)
        return json_response({"job": jobs.submit(_recomputing(view, recipe)).id})

    @router.get("/jobs/{job}")
    def get_job(job: str) -> Any:
        return json_response(jobs.get(job).to_dict())

    @router.delete("/jobs/{job}")
    def delete_job(job: str) -> Any:
        return json_response(jobs.cancel(job).to_dict())

    @router.post("/runs/{run}/save")
    def post_save(run: str, body: dict[str, Any] = Body()) -> Any:  # noqa: B008
        view = session.run(run)
        path = recompute.save(view, body.get("name", ""))
        return json_response({"name": path.name, "run": view.info()})

    @router.delete("/runs/{run}")
    def delete_run(run: str) -> Any:
        session.forget(run)
        return json_response({"forgotten": run})


def _recomputing(view: RunView, recipe: recompute.Recipe) -> Callable[[Any], str]:
    return lambda tell: recompute.recompute(view, recipe, tell).id


def _nodes(value: Any) -> Any:
    return np.asarray(_ids("nodes", value, MOST_NODES), np.int64)


def _ids(name: str, value: Any, most: int) -> list[int]:
    whole = isinstance(value, list) and all(
        isinstance(each, int) and not isinstance(each, bool) and 0 <= each < 2**31 for each in value
    )
    if not whole or len(value) > most:
        raise ParameterError(f"{name} must be a list of at most {most:,} whole numbers from 0 on")
    return list(value)


def _id(body: dict[str, Any], name: str) -> str:
    if not isinstance(body.get(name), str):
        raise ParameterError(f"{name} must be the id of a {'store' if name == 'store' else 'run'}")
    return str(body[name])


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise ParameterError(f"{name} must be text, got {type(value).__name__}")
    return value


def _whole(body: dict[str, Any], name: str, default: int) -> int:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParameterError(f"{name} must be a whole number, got {value!r:.60}")
    return value
