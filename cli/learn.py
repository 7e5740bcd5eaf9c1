"""``li learn``: a saved model takes a person's correction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from learned_index.cli.shared.changes import finish, to_change, version_options
from learned_index.cli.shared.help import command
from learned_index.cli.shared.options import model_argument


@command(examples=('li learn model "green tea leaves" --label tea --label plants --new',))
@model_argument
@click.argument("text")
@click.option(
    "--label", "labels", multiple=True, required=True, help="A right label, its name or key; again."
)
@click.option("--new", is_flag=True, help="Names that no label has become new labels.")
@version_options
def learn(model: Path, text: str, labels: tuple[str, ...], new: bool, **written: Any) -> None:
    """Make a version of MODEL that has learned TEXT and all its right labels.

    Labels among the best answers that are not right learn that they were wrong.
    """
    with to_change(model, written) as loaded:
        if not new:
            loaded.vocabulary.ids(labels)  # a name that was misspelt shall not become a label
        changed = loaded.learn(text, list(labels))
        finish(changed, "learned", 1, model, what="text", **written)
