"""Problems in the OpenAPI description, and what makes them of errors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from learned_index.errors import LearnedIndexError
from learned_index.inputs.similar import did_you_mean
from learned_index.persistence.failures import shortened
from learned_index.serving import schemas
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


FIELDS = sorted(
    {
        field
        for model in vars(schemas).values()
        if isinstance(model, type)
        and issubclass(model, BaseModel)
        and model.__name__.endswith("Request")
        for field in model.model_fields
    }
)
"""All fields of all requests."""
_HEADER = "with the header Content-Type: application/json"
_LONGEST_SHOWN = 60


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer beside its answer."""
    return {
        status: {"model": Problem, "description": _MEANINGS[status]}
        for status in sorted({*ALWAYS, *statuses})
    }


def told_of(errors: Sequence[Any], content_type: str | None) -> str:
    """One line about what a request lacks: the first of the validator's errors.

    Args:
        errors: Of pydantic, with type, loc, msg, input and ctx. Several may be of one field, which
            may be of several kinds.
        content_type: Header of the request.
    """
    first = errors[0]
    kind, loc = first["type"], tuple(first["loc"])
    if kind == "json_invalid":
        why = first.get("ctx", {}).get("error", "it is cut off")
        return f"the body is no JSON, at character {loc[-1]}: {why}"
    if loc == ("body",) and kind == "missing":
        return f"the body is empty, expected a JSON object, {_HEADER}"
    if loc == ("body",):
        read_as = f", read as {content_type}" if content_type else ""
        return f"the body is no JSON object{read_as}; expected one, {_HEADER}"
    fields = [part for part in loc[1:] if isinstance(part, int) or str(part).isidentifier()]
    where = ".".join(str(part) for part in fields)
    if kind == "extra_forbidden":
        others = [field for field in FIELDS if field != loc[-1]]
        return f"{where}: there is no such field here{did_you_mean(str(loc[-1]), others)}"
    if kind == "missing":
        return f"{where}: it is missing, expected a value"
    same = [each for each in errors if tuple(each["loc"])[: len(fields) + 1] == (loc[0], *fields)]
    expected = dict.fromkeys(_expected(each["msg"]) for each in same)
    got = first.get("input")
    # Not with what is long, or no text that could be sent back.
    plain = got is None or isinstance(got, bool | int | float)
    named = isinstance(got, str) and len(got) < _LONGEST_SHOWN and got.isprintable()
    what = f"got {got!r}, expected" if plain or named else "expected"
    return f"{where}: {what} {' or '.join(expected)}"


def _expected(message: str) -> str:
    """What a message of the validator asks for: ``Input should be a valid list`` is a list."""
    rest = message.removeprefix("Input should be ")
    if not rest.startswith("a valid "):
        return rest
    rest = rest.removeprefix("a valid ")
    return f"{'an' if rest[0] in 'aeio' else 'a'} {rest}"


def handle_errors(app: FastAPI) -> None:
    """Let every error become a problem of one line."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        told = told_of(error.errors(), request.headers.get("content-type"))
        return JSONResponse({"detail": shortened(told)}, INVALID)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        path, told = request.url.path, error.detail
        if error.status_code == 404 and told == "Not Found":
            told = (
                f"there is nothing at {path}{did_you_mean(path, app.openapi()['paths'])}; see /docs"
            )
        elif error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            told = f"{request.method} is not answered at {path}, expected {allowed}"
        elif error.status_code == 400 and "parsing the body" in str(told):
            told = "the body cannot be read; expected JSON in UTF-8"
        return JSONResponse({"detail": shortened(told)}, error.status_code, error.headers)

    @app.exception_handler(LearnedIndexError)
    async def refused(_: Request, error: LearnedIndexError) -> JSONResponse:
        found = refusal(error)
        if found.status_code != INVALID:
            logger.error("refused", extra={"reason": shortened(error)})
        return JSONResponse({"detail": shortened(found.detail)}, found.status_code)
