"""What the routes of one process share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from learned_index.serving.batching import Batcher
from learned_index.serving.board import Board
from learned_index.serving.changes import Changer
from learned_index.serving.config import Service, ServingConfig
from learned_index.serving.guard import check_token
from learned_index.serving.metrics import Metrics
from learned_index.serving.models import Models

_bearer = HTTPBearer(auto_error=False, description="The server's token.")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


@dataclass(frozen=True)
class State:
    """Models, queues and counters of one process.

    Attributes:
        service: What the server is to do.
        models: The models.
        metrics: What is counted.
        batcher: Answers.
        changer: Changes.
        board: What other workers answer by; None: there are none.
    """

    service: Service
    models: Models
    metrics: Metrics
    batcher: Batcher
    changer: Changer
    board: Board | None

    @property
    def config(self) -> ServingConfig:
        """How is served."""
        return self.service.config


def state_of(request: Request) -> State:
    """The state of the process that answers a request."""
    found: State = request.app.state.serving
    return found


async def needs_token(request: Request, bearer: Bearer) -> None:
    """Refuse who does not bring the server's token."""
    check_token(bearer.credentials if bearer else None, state_of(request).service.token)
