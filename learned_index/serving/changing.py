"""Routes that change a model: labels that come, go, become one or get another name; corrections."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from learned_index.elias.model import ELIAS
from learned_index.serving.changes import Apply
from learned_index.serving.guard import note
from learned_index.serving.problems import problems
from learned_index.serving.reading import check_items
from learned_index.serving.refusals import CONFLICT, INVALID, refuse
from learned_index.serving.schemas import (
    AddRequest,
    ChangeAnswer,
    LearnRequest,
    MergeRequest,
    RemoveRequest,
    RenameRequest,
)
from learned_index.serving.state import needs_token, state_of

router = APIRouter(tags=["change"], dependencies=[Depends(needs_token)])
_PROBLEMS = problems(404, 409, 429, 504)


@router.post("/v1/labels/add", response_model=ChangeAnswer, responses=_PROBLEMS)
async def add(request: Request, asked: AddRequest) -> JSONResponse:
    """Add labels, each learned from some texts that have it, or from its name."""
    config = state_of(request).config
    for label in asked.labels:
        if label.examples:
            check_items(label.examples, config)
    new = {label.key: label.examples for label in asked.labels}
    if len(new) < len(asked.labels):
        refuse(INVALID, "two of the labels have the same key; keys are unique")
    names = {label.key: label.name for label in asked.labels if label.name}
    return await _change(request, asked.model, "add", lambda m: m.add_labels(new, texts=names))


@router.post("/v1/labels/remove", response_model=ChangeAnswer, responses=_PROBLEMS)
async def remove(request: Request, asked: RemoveRequest) -> JSONResponse:
    """Remove labels: no search answers them any more."""
    return await _change(
        request, asked.model, "remove", lambda m: m.remove_labels(list(asked.labels))
    )


@router.post("/v1/labels/rename", response_model=ChangeAnswer, responses=_PROBLEMS)
async def rename(request: Request, asked: RenameRequest) -> JSONResponse:
    """Give labels other names; their keys stay."""
    return await _change(
        request, asked.model, "rename", lambda m: m.rename_labels(dict(asked.names))
    )


@router.post("/v1/labels/merge", response_model=ChangeAnswer, responses=_PROBLEMS)
async def merge(request: Request, asked: MergeRequest) -> JSONResponse:
    """Let labels become one with others."""
    return await _change(
        request, asked.model, "merge", lambda m: m.merge_labels(dict(asked.targets))
    )


@router.post("/v1/learn", response_model=ChangeAnswer, responses=_PROBLEMS)
async def learn(request: Request, asked: LearnRequest) -> JSONResponse:
    """Learn one text and all its right labels; a compiled model cannot (409)."""
    state = state_of(request)
    check_items([asked.text], state.config)
    if state.models.get(asked.model).model.engines():
        refuse(
            CONFLICT, "this model is compiled, and cannot learn; serve the model that it was "
            "compiled from, or change that one and compile it again",
        )  # fmt: skip

    def learned(model: ELIAS) -> ELIAS:
        if not asked.new:
            model.vocabulary.ids(asked.labels)  # a name that was misspelt is no new label
        return model.learn(asked.text, list(asked.labels))

    return await _change(request, asked.model, "learn", learned)


async def _change(request: Request, model: str | None, kind: str, apply: Apply) -> JSONResponse:
    state = state_of(request)
    name = state.models.get(model).name
    done = await state.changer.change(name, kind, apply)
    note(request, model=name, version=done.version)
    return JSONResponse({"model": name, "version": done.version, "everywhere": done.everywhere})
