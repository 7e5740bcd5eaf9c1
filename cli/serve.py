"""``li serve``: models over HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from learned_index.cli.shared.common import threads_option
from learned_index.cli.shared.help import command
from learned_index.cli.shared.options import config_options, given_values
from learned_index.errors import InputError
from learned_index.serving.config import Service, ServingConfig

TOKEN_VARIABLE = "LI_SERVE_TOKEN"
"""Environment variable that holds the token, where no file does."""
SHORTEST_TOKEN = 16


@command(
    common=("watch", "token_file", "host", "port", "workers", "threads"),
    examples=(
        "li serve my-model --port 8080",
        "li serve new=model-2 old=model-1",
    ),
)
@click.argument("models", nargs=-1, metavar="[NAME=]MODEL...")
@click.option(
    "--watch",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory whose folders are models too: those that come, change and go.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"File with the token that changes need.  [default: {TOKEN_VARIABLE} in the environment; "
    "without one nothing can be changed]",
)
@config_options(ServingConfig)
@threads_option
def serve(
    models: tuple[str, ...],
    watch: Path | None,
    token_file: Path | None,
    threads: int | None,
    **parameters: Any,
) -> None:
    """Serve the models in the directories MODEL over HTTP: an API, Annif's protocol, a web page.

    A model is called NAME, or as its directory. A new version that takes its place (li labels, li
    update, a copy that is renamed) answers from then on; no request is lost. SIGHUP makes the
    server look at once. SIGTERM and Ctrl-C end it when the requests under way are answered.
    Standard error has a line of JSON for each event.
    """
    config = ServingConfig(**given_values(ServingConfig, parameters))
    service = Service(
        models=named_models(models, watch),
        config=config,
        watch=watch,
        token=read_token(token_file),
        threads=threads,
    )
    from learned_index.serving.server import serve as run

    run(service, tell=lambda address: click.echo(f"serving on {address}", err=True))


def named_models(given: tuple[str, ...], watch: Path | None) -> dict[str, Path]:
    """Names and directories of what is to be served.

    Raises:
        InputError: Nothing, or two of one name.
    """
    if not given and watch is None:
        raise InputError("no model is named; give the directory of one, or --watch DIRECTORY")
    found: dict[str, Path] = {}
    for each in given:
        name, equals, place = each.partition("=")
        if not equals or Path(each).is_dir():
            place, name = each, Path(each).resolve().name
        if name in found:
            raise InputError(f"two models are called {name!r:.80}; call one NAME={place}")
        found[name] = Path(place)
    return found


def read_token(file: Path | None) -> str | None:
    """The token that changes need; None: there is none.

    Raises:
        InputError: It is too short to be one, or no text.
        OSError: The file cannot be read.
    """
    where = TOKEN_VARIABLE if file is None else str(file)
    try:
        raw = os.environ.get(TOKEN_VARIABLE) if file is None else file.read_text(encoding="ascii")
    except UnicodeDecodeError:
        raise InputError(
            f"{where} holds other characters than ASCII; a token is one line"
        ) from None
    if raw is None or (file is None and not raw):  # a variable that is empty is none
        return None
    token = raw.strip()
    if len(token) < SHORTEST_TOKEN or not token.isascii() or len(token.split()) != 1:
        raise InputError(
            f"the token in {where} is no line of at least {SHORTEST_TOKEN} characters; make one: "
            'python -c "import secrets; print(secrets.token_urlsafe())"'
        )
    return token
