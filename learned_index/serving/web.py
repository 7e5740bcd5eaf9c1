"""The web page at ``/``: one document, one style sheet, one script, none from anywhere else."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import Response

router = APIRouter(include_in_schema=False)
_KINDS = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
}


def _serve(path: str, name: str) -> None:
    # Read when the routes are made: no request decides which file is opened.
    content = files("learned_index.serving.page").joinpath(name).read_bytes()

    @router.get(path)
    async def file() -> Response:
        return Response(content, headers={"Content-Type": _KINDS[name]})


_serve("/", "index.html")
_serve("/page.css", "page.css")
_serve("/page.js", "page.js")
