"""A model behind Ray Serve: requests are answered in batches, by as many replicas as are asked for.

pip install 'learned-index[ray,static]' 'ray[serve]'
serve run examples.ray_serve:app model=fast replicas=2
curl -s localhost:8000 -H 'Content-Type: application/json' \
    -d '{"text": "fold the dough and let it rise", "k": 3}'
"""

import asyncio
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from learned_index.adapters.retrieval import found_labels, opened
from learned_index.elias.warm_up import warm_up
from learned_index.system.threads import set_threads

BATCH = 64
"""Requests that are answered together at most."""

api = FastAPI(title="Labels of texts")


class Question(BaseModel):
    """A request. What is none is refused before it joins a batch: it spoils no other's answer."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: str = Field(max_length=100_000)
    k: int = Field(10, ge=1, le=1000)


@api.exception_handler(RequestValidationError)
async def refused(request: Request, error: RequestValidationError) -> JSONResponse:
    """Status 422, and what is wrong where, without the text itself: it may be long."""
    found = [{"where": each["loc"], "wrong": each["msg"]} for each in error.errors()]
    return JSONResponse({"detail": found}, 422)


class Arguments(BaseModel):
    """What stands behind ``serve run examples.ray_serve:app``."""

    model_config = ConfigDict(extra="forbid")
    model: str
    replicas: int = Field(2, ge=1)


# Without max_ongoing_requests a replica is handed five requests at a time: batches of five.
@serve.deployment(max_ongoing_requests=2 * BATCH, ray_actor_options={"num_cpus": 1})
@serve.ingress(api)
class Labels:
    """A replica: a model that is opened once.

    Args:
        model: Directory of a saved model, at this path on every machine; best a compiled one
            (``li compile``), whose pages the replicas of a machine share.
    """

    def __init__(self, model: str) -> None:
        set_threads(1)
        self._model = opened(model)
        # A replica gets requests once this has returned: none of them waits for kernels.
        warm_up(self._model)

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0.005)
    async def _labels(self, asked: list[Question]) -> list[list[dict[str, Any]]]:
        # In a thread, so that Ray meanwhile hears that the replica is well, and batches fill.
        return await asyncio.to_thread(self._found, asked)

    def _found(self, asked: list[Question]) -> list[list[dict[str, Any]]]:
        # Those of equal k together: a search for more labels may rank them by more evidence.
        rows: list[list[dict[str, Any]]] = [[]] * len(asked)
        for k in {each.k for each in asked}:
            places = [place for place, each in enumerate(asked) if each.k == k]
            found = found_labels(self._model, [asked[place].text for place in places], k=k)
            for place, row in zip(places, found, strict=True):
                rows[place] = row
        return rows

    @api.post("/")
    async def ask(self, asked: Question) -> list[dict[str, Any]]:
        """The labels of a text, best first: label, key, score and, if calibrated, probability."""
        return await self._labels(asked)


# Ray looks at the class of the arguments itself: no `from __future__ import annotations` here.
def app(arguments: Arguments) -> serve.Application:
    """The application, as ``serve run`` and ``serve build`` make it.

    Raises:
        NotADirectoryError: There is no such directory.
    """
    model = Path(arguments.model).resolve()
    if not model.is_dir():
        raise NotADirectoryError(f"model={arguments.model} is no directory; li compile makes one")
    return Labels.options(num_replicas=arguments.replicas).bind(str(model))
