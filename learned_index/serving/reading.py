"""Routes that read: search, score, labels, cards."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from learned_index.data.formats.lines import has_half_pair
from learned_index.serving.answering import Scoring, Search
from learned_index.serving.batching import Answered
from learned_index.serving.config import ServingConfig
from learned_index.serving.guard import note
from learned_index.serving.models import Served
from learned_index.serving.problems import problems
from learned_index.serving.refusals import INVALID, TOO_LARGE, UNKNOWN, refuse
from learned_index.serving.schemas import (
    Card,
    CardList,
    LabelList,
    ScoreAnswer,
    ScoreRequest,
    SearchAnswer,
    SearchRequest,
)
from learned_index.serving.state import State, state_of

router = APIRouter(tags=["search"])
_MOST_EXPLAINED = 200
"""Pairs of text and label that one request gets explained: each asks the model anew."""
_MOST_SCORED = 100_000
"""Pairs of text and label that one request gets scored."""
_MOST_LISTED = 10_000
Model = Annotated[str | None, Query(max_length=100, description="Name of a model.")]


@router.post("/v1/search", response_model=SearchAnswer, responses=problems(404, 413, 429, 504))
async def search(request: Request, asked: SearchRequest) -> JSONResponse:
    """Find the best labels of texts or vectors: what `li search` answers, bit for bit."""
    state = state_of(request)
    if (asked.texts is None) == (asked.vectors is None):
        refuse(INVALID, "expected texts or vectors, and one of both")
    items: list[Any] = asked.vectors if asked.texts is None else asked.texts  # type: ignore[assignment]
    check_items(items, state.config)
    if asked.k > state.config.max_k:
        refuse(TOO_LARGE, f"k is {asked.k}, at most {state.config.max_k} are answered")
    if asked.explain and len(items) * asked.k > _MOST_EXPLAINED:
        refuse(
            TOO_LARGE, f"{len(items)} texts with {asked.k} labels each are too many to explain; "
            f"at most {_MOST_EXPLAINED} labels in all",
        )  # fmt: skip
    served = state.models.get(asked.model)
    if asked.vectors is not None:
        dim = served.model.encoder.dim
        wrong = next((len(row) for row in asked.vectors if len(row) != dim), None)
        if wrong is not None:
            refuse(INVALID, f"a vector has {wrong} numbers, this model's have {dim}")
    how = Search(
        k=asked.k,
        score=asked.score,
        by_vectors=asked.vectors is not None,
        threshold=asked.threshold,
        allow=None if asked.allow is None else tuple(asked.allow),
        deny=tuple(asked.deny) if asked.deny else None,
        beam_width=asked.beam_width,
        shortlist_size=asked.shortlist_size,
        explain=asked.explain,
    )
    found = await state.batcher.ask(
        served.name, how, items, how.work(state.metrics), deadline_s=seconds(asked.deadline_ms)
    )
    return answered(request, found, "answers", found.answers)


@router.post("/v1/score", response_model=ScoreAnswer, responses=problems(404, 413, 429, 504))
async def score(request: Request, asked: ScoreRequest) -> JSONResponse:
    """Score labels that are named for texts, also those that a search would not find."""
    state = state_of(request)
    check_items(asked.texts, state.config)
    if len(asked.texts) * len(asked.labels) > _MOST_SCORED:
        refuse(TOO_LARGE, f"more than {_MOST_SCORED:,} pairs of text and label; ask in parts")
    how = Scoring(tuple(asked.labels), asked.score)
    served = state.models.get(asked.model)
    found = await state.batcher.ask(
        served.name, how, asked.texts, how.work(state.metrics),
        deadline_s=seconds(asked.deadline_ms),
    )  # fmt: skip
    return answered(request, found, "scores", found.answers)


@router.get("/v1/labels", response_model=LabelList, responses=problems(404, 413))
async def labels(
    request: Request,
    model: Model = None,
    query: Annotated[
        str, Query(max_length=1000, description="Part of a name or key, in any case.")
    ] = "",
    offset: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=_MOST_LISTED)] = 100,
) -> JSONResponse:
    """List labels, or those whose name or key holds a text."""
    served = state_of(request).models.get(model)
    vocabulary, counts = served.model.vocabulary, served.model.label_counts
    # Of a million labels it takes a second, in which other requests shall be answered.
    ids = await asyncio.to_thread(_named_like, served, query)
    rows = [
        {
            "key": vocabulary.keys[label],
            "name": vocabulary.name(label),
            "training_points": None if counts is None else int(counts[label]),
        }
        for label in ids[offset : offset + limit]
    ]
    return JSONResponse(
        {"model": served.name, "version": served.version, "total": len(ids), "labels": rows}
    )


def _named_like(served: Served, query: str) -> list[int]:
    vocabulary, wanted = served.model.vocabulary, query.casefold()
    return [
        label
        for label, (name, key) in enumerate(zip(vocabulary, vocabulary.keys, strict=True))
        if label not in served.model.removed_labels
        and (wanted in name.casefold() or wanted in key.casefold())
    ]


@router.get("/v1/models", response_model=CardList)
async def models(request: Request) -> JSONResponse:
    """Tell what is served."""
    return JSONResponse({"models": [card(each) for each in state_of(request).models.all()]})


@router.get("/v1/models/{name}", response_model=Card, responses=problems(404))
async def model(request: Request, name: str) -> JSONResponse:
    """Tell what a model is."""
    return JSONResponse(card(known(state_of(request), name)))


def known(state: State, name: str) -> Served:
    """The model of a name in a path; an empty server has none."""
    found = [each for each in state.models.all() if each.name == name]
    if not found:
        refuse(UNKNOWN, f"there is no model {name!r:.80}")
    return found[0]


def card(served: Served) -> dict[str, Any]:
    """What is told of a model."""
    model = served.model
    compiled = bool(model.engines())
    remembers = model.records_ is not None and model.ranker_ is not None
    return {
        "name": served.name,
        "version": served.version,
        "loaded": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(served.loaded)),
        "n_labels": model.n_labels - len(model.removed_labels),
        "n_training_points": int(model.n_points),
        "encoder": model.encoder.kind,
        "dim": int(model.encoder.dim),
        "n_models": len(model.members),
        "is_compiled": compiled,
        "is_calibrated": model.calibrator_ is not None,
        "can_learn": not compiled,
        "can_add_labels": remembers and not model.has_own_encoders,
        "validation": model.report_.get("validation"),
    }


def check_items(items: list[Any], config: ServingConfig) -> None:
    """Refuse no text, and too many or too long ones."""
    if not items:
        refuse(INVALID, "there is no text; give one at least")
    if len(items) > config.max_texts:
        refuse(TOO_LARGE, f"{len(items)} texts, at most {config.max_texts}; ask in parts")
    longest = max(map(len, items))
    if longest > config.max_characters:
        refuse(TOO_LARGE, f"a text of {longest} characters, at most {config.max_characters}")
    if any(isinstance(item, str) and has_half_pair(item) for item in items):
        refuse(INVALID, "a text holds half a surrogate pair, which is no character")


def seconds(milliseconds: int | None) -> float | None:
    """The deadline of a request."""
    return None if milliseconds is None else milliseconds / 1000


def answered(request: Request, found: Answered, what: str, values: Any) -> JSONResponse:
    """The answer with the model and its version, which the log tells too."""
    facts = {"model": found.served.name, "version": found.served.version}
    note(request, **facts, texts=len(values))
    return JSONResponse({**facts, what: values})
