"""Routes for those who run the server: is it well, is it ready, what does it count."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from learned_index.serving.refusals import UNAVAILABLE
from learned_index.serving.schemas import Problem, Status
from learned_index.serving.state import state_of

router = APIRouter(tags=["operation"])


@router.get("/healthz", response_model=Status)
async def healthz() -> JSONResponse:
    """Tell that the process lives."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    response_model=Status,
    responses={503: {"model": Problem, "description": "A model is missing."}},
)
async def readyz(request: Request) -> JSONResponse:
    """Tell whether all models are loaded."""
    if not state_of(request).models.are_ready:
        return JSONResponse({"detail": "a model is not loaded yet"}, UNAVAILABLE)
    return JSONResponse({"status": "ready"})


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Tell what is counted, for Prometheus."""
    content, kind = state_of(request).metrics.page()
    return Response(content, headers={"Content-Type": kind})
