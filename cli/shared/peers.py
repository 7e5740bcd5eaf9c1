"""What is said about peers on the command line: who measures them; the words they learn from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from learned_index.cli.shared.common import progress_bar
from learned_index.errors import InputError

python_option = click.option(
    "--python",
    "interpreters",
    multiple=True,
    metavar="NAME=INTERPRETER",
    help="Measure a method with the interpreter of another environment, for packages that do not "
    "fit into this one (pecos=pecos-env/bin/python); may be given again. It needs numpy, scipy, "
    "safetensors and the method's package, nothing else.",
)


def interpreters_of(texts: Iterable[str]) -> dict[str, str]:
    """Return the interpreters that ``--python NAME=INTERPRETER`` names, by the methods.

    Raises:
        InputError: A text of another form.
    """
    python = {}
    for text in texts:
        name, equals, interpreter = text.rpartition("=")
        if not equals or not name or not interpreter:
            raise InputError(f"--python {text} is not NAME=INTERPRETER, e.g. pecos=env/bin/python")
        # The process that measures has another working directory.
        python[name] = str(Path(interpreter).absolute()) if "/" in interpreter else interpreter
    return python


def word_features(train: Any, test: Any, *, ngrams: int, min_df: int, quiet: bool) -> Any:
    """Return tf-idf of training and test points for whole systems, with a progress bar."""
    from learned_index.encoders.lexical.point_features import point_features

    with progress_bar("features of words", quiet=quiet):
        return point_features(train, test, ngrams=ngrams, min_df=min_df)
