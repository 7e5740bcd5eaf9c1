"""Problems in the OpenAPI description, and what makes them of errors."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from learned_index.errors import LearnedIndexError
from learned_index.persistence.failures import shortened
from learned_index.serving.refusals import INVALID, refusal
from learned_index.serving.schemas import Problem

logger = logging.getLogger(__name__)

_MEANINGS = {
    400: "No JSON, or no form.",
    401: "The server's token is missing or wrong.",
    403: "The server has no token, so nothing can be changed.",
    404: "There is no model of this name.",
    408: "The request did not come in time.",
    409: "This model cannot be changed so.",
    413: "More than the server takes: texts, characters, labels or bytes.",
    422: "A field or a label that cannot be used.",
    429: "Too much waits already; try again after the time that Retry-After says.",
    500: "A fault of the server, which its log tells of.",
    503: "The server cannot do this now.",
    504: "There was no answer before the deadline.",
}
ALWAYS = (400, 401, 403, 408, 413, 422, 500, 503)
"""What any request may get."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer beside its answer."""
    return {
        status: {"model": Problem, "description": _MEANINGS[status]}
        for status in sorted({*ALWAYS, *statuses})
    }


def handle_errors(app: FastAPI) -> None:
    """Let every error become a problem of one line."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # Not with what was sent: it may be long, or no text that could be sent back.
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        line = f"{where}: {first['msg']}" if where else str(first["msg"])
        return JSONResponse({"detail": shortened(line)}, INVALID)

    @app.exception_handler(LearnedIndexError)
    async def refused(_: Request, error: LearnedIndexError) -> JSONResponse:
        found = refusal(error)
        if found.status_code != INVALID:
            logger.error("refused", extra={"reason": shortened(error)})
        return JSONResponse({"detail": shortened(found.detail)}, found.status_code)
