"""Parameters of a server, and what it serves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from learned_index.config import Config, parameter
from learned_index.errors import InputError

NAME = re.compile(r"[\w.@+-]{1,100}", re.ASCII)
"""Names that a model can be served under."""


@dataclass(frozen=True, kw_only=True)
class ServingConfig(Config):
    """How models are served."""

    host: str = parameter("127.0.0.1", "address to listen on; 0.0.0.0: every one of this machine")
    port: int = parameter(8080, "port to listen on; 0: any free one, which is told", low=0)
    workers: int = parameter(1, "processes that answer; they share the mapped arrays of an engine")
    max_batch: int = parameter(64, "texts of concurrent requests that are searched together")
    batch_wait_ms: float = parameter(
        0.0, "milliseconds that a batch waits for more requests; 0: it takes what is there",
        low=0.0, high=1000.0,
    )  # fmt: skip
    max_queue: int = parameter(1024, "texts that may wait in a process; more are answered with 429")
    max_texts: int = parameter(256, "texts of one request; more are answered with 413")
    max_characters: int = parameter(200_000, "characters of one text; longer ones: 413")
    max_body_mb: float = parameter(8.0, "megabytes of one request; more: 413", low=0.001)
    max_k: int = parameter(1000, "labels that a request may ask for of each text")
    deadline_s: float = parameter(
        10.0, "seconds until a request that has no answer is given up (504)", low=0.001
    )
    shutdown_s: int = parameter(30, "seconds that requests under way have at a shutdown")
    poll_s: float = parameter(
        0.25, "seconds between two looks at the models' directories", low=0.01, high=3600.0
    )
    guard: Literal["changes", "all"] = parameter(
        "changes", "what needs the token: changes of labels and learning, or every request"
    )
    allowed_hosts: str = parameter(
        "auto",
        "names, with commas, by which clients may call the server (Host header); auto: on a "
        "loopback address its names, else any",
    )
    uri_prefix: str = parameter(
        "", "text before the keys of labels in the answers of Annif's protocol, to make URIs"
    )
    language: str = parameter("en", "language of the labels, as Annif's protocol tells it")
    log: Literal["requests", "errors"] = parameter(
        "requests", "lines of JSON on standard error: one for each request, or only for errors"
    )


@dataclass(frozen=True)
class Service:
    """What one server is to do; goes to each worker whole.

    Attributes:
        models: Directory of each model, by its name; the first is asked where none is named.
        config: How.
        watch: A directory whose folders are models, too: those that come, change and go.
        token: What changes (or all requests) must bring; None: nothing can be changed.
        board: Directory where several workers tell which versions they answer with; None: one.
        threads: CPU threads of each worker; None: the CPUs, shared by the workers.

    Raises:
        InputError: A name that no model can have.
    """

    models: Mapping[str, Path]
    config: ServingConfig = field(default_factory=ServingConfig)
    watch: Path | None = None
    token: str | None = field(default=None, repr=False)
    board: Path | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in self.models:
            if not NAME.fullmatch(name):
                raise InputError(
                    f"{name!r:.80} is no name for a model; use letters, digits and . _ @ + -"
                )
