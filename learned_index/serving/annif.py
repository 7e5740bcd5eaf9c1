"""Annif's protocol: its ``http`` backend asks these models as it would ask another Annif."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import JSONResponse

from learned_index.serving.answering import Search
from learned_index.serving.models import Served
from learned_index.serving.problems import problems
from learned_index.serving.reading import answered, check_items, known
from learned_index.serving.refusals import TOO_LARGE, refuse
from learned_index.serving.schemas import Project, ProjectList, Suggestions
from learned_index.serving.state import State, state_of

router = APIRouter(tags=["Annif's protocol"])
_LIMIT = 10
"""What Annif's own service answers where nothing else is asked."""


@router.get("/v1/projects", response_model=ProjectList)
async def projects(request: Request) -> JSONResponse:
    """Tell what is served."""
    state = state_of(request)
    return JSONResponse({"projects": [_project(state, each) for each in state.models.all()]})


@router.get("/v1/projects/{project_id}", response_model=Project, responses=problems(404))
async def project(request: Request, project_id: str) -> JSONResponse:
    """Tell of one model that it is trained, and since when."""
    state = state_of(request)
    return JSONResponse(_project(state, known(state, project_id)))


@router.post(
    "/v1/projects/{project_id}/suggest", response_model=Suggestions,
    responses=problems(404, 413, 429, 504),
)  # fmt: skip
async def suggest(
    request: Request,
    project_id: str,
    text: Annotated[str, Form(examples=["green tea leaves"])],
    limit: Annotated[int | None, Form(ge=1, le=2**31 - 1)] = None,
    threshold: Annotated[float, Form(ge=0, le=1, allow_inf_nan=False)] = 0.0,
    more: Annotated[
        int | None,
        Query(alias="limit", ge=1, le=2**31 - 1, description="For clients that send no limit."),
    ] = None,
) -> JSONResponse:
    """Suggest labels for a text, with ranking scores."""
    state = state_of(request)
    served = known(state, project_id)
    check_items([text], state.config)
    k = limit or more or _LIMIT
    if k > state.config.max_k:
        refuse(TOO_LARGE, f"limit is {k}, at most {state.config.max_k} are answered")
    how = Search(k=k)
    found = await state.batcher.ask(served.name, how, [text], how.work(state.metrics))
    results = [
        {
            "uri": state.config.uri_prefix + each["key"],
            "label": each["label"],
            "notation": None,
            "score": each["score"],
        }
        for each in found.answers[0]
        if each["score"] >= threshold
    ]
    answered(request, found, "answers", found.answers)
    return JSONResponse({"results": results})


def _project(state: State, served: Served) -> dict[str, Any]:
    return {
        "project_id": served.name,
        "name": served.name,
        "language": state.config.language,
        "backend": {"backend_id": "learned-index"},
        "is_trained": True,
        "modification_time": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(served.loaded)),
    }
