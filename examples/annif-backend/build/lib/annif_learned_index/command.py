"""``annif learned-index``: the labels of a model as a vocabulary that Annif loads."""

from __future__ import annotations

from pathlib import Path

import click

import annif_learned_index  # noqa: F401 - makes the backend known


@click.command("learned-index")
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--uri-prefix", default="", help="Text before the keys of labels, to make URIs.")
def labels(model: Path, uri_prefix: str) -> None:
    """Print the labels of the saved model MODEL as lines of URI and name.

    `annif learned-index MODEL > labels.tsv`, then `annif load-vocab VOCAB labels.tsv`.
    """
    from learned_index import ELIAS

    vocabulary = ELIAS.from_pretrained(model).vocabulary
    for key, name in zip(vocabulary.keys, vocabulary, strict=True):
        click.echo(f"<{uri_prefix}{key}>\t{name}")
