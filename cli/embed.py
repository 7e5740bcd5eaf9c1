"""``li embed``: texts to files of vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from learned_index.cli.shared.common import (
    emit_json,
    json_option,
    note,
    progress_bar,
    quiet_option,
    threads_option,
    use_threads,
)
from learned_index.cli.shared.help import command
from learned_index.errors import InputError

SPLITS = ("train", "dev", "test")


def read_texts(data: str, splits: tuple[str, ...]) -> dict[str, list[str]]:
    """Read the texts of a data folder's splits, or the lines of one text file.

    Args:
        data: A data folder, ``api-docs``, or a file with one text a line.
        splits: Splits asked for; empty: all that the folder has. A file is one split, ``train``
            unless one name is asked for.

    Returns:
        Texts by split, in the order train, dev, test.

    Raises:
        InputError: The data have no texts, or a split asked for is missing.
    """
    from learned_index.cli.shared.sources import resolve_data
    from learned_index.data.formats.lines import iter_lines

    path = Path(data)
    if path.is_file():
        if len(splits) > 1:
            raise InputError(f"{data} is one file, expected one --split, got {', '.join(splits)}")
        return {splits[0] if splits else "train": list(iter_lines(path))}
    folder = resolve_data(data, quiet=True)
    if not folder.has_texts:
        raise InputError(
            f"{data} holds sparse features and no texts, so there is nothing to encode; "
            "li train-index makes vectors of the features itself"
        )
    wanted = [split for split in SPLITS if split in (splits or folder.splits)]
    return {split: list(folder.iter_texts(split)) for split in wanted}  # type: ignore[arg-type]


@command(
    common=("data", "spec", "out", "splits", "batch_size", "device", "quiet", "threads"),
    examples=(
        "li embed --data my-data --encoder minilm --out vectors",
        "li train-index --data my-data --encoder vectors --out model",
    ),
)
@click.option(
    "--data", required=True, help="Data folder, api-docs, or a file with one text a line."
)
@click.option(
    "--encoder",
    "spec",
    default="minilm",
    show_default=True,
    help="tfidf is not possible (sparse). lsa, lsa:512, bow, minilm, the name or folder of a "
    "model, the folder of a saved encoder, or several joined by +.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for {split}.npy and encoder/, or one file ending in .npy.",
)
@click.option(
    "--split",
    "splits",
    multiple=True,
    type=click.Choice(SPLITS),
    help="Which split, may be repeated. Default: all. Encoders are fitted on train in any case.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Texts a step (neural encoders).")
@click.option("--dim", type=click.IntRange(min=1), help="Vector length (lsa, bow).")
@click.option("--max-length", type=click.IntRange(min=1), help="Tokens a text (neural encoders).")
@click.option("--device", help="auto, cpu, cuda (neural encoders).")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "int8"]),
    default="auto",
    show_default=True,
    help="What neural encoders compute in; auto: the fastest that this machine is sure to do.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed (lsa, bow).")
@click.option("--no-cache", is_flag=True, help="Neither use nor fill the cache of vectors.")
@threads_option
@quiet_option
@json_option
def embed(
    data: str,
    spec: str,
    out: Path,
    splits: tuple[str, ...],
    no_cache: bool,
    threads: int | None,
    quiet: bool,
    as_json: bool,
    seed: int,
    **options: Any,
) -> None:
    """Turn texts into vectors, one row a text, float32.

    Interrupt it with Ctrl-C and run it again: it goes on where it stopped. Vectors of neural
    encoders are cached by the content of encoder and texts ($LEARNED_INDEX_CACHE names the
    directory, or is "off").
    """
    from learned_index.cli.shared.output import claim
    from learned_index.cli.shared.sources import precisions_of
    from learned_index.encoders.embed import EmbeddedSplits, check_out, fitted_encoder

    claim(out)
    use_threads(threads)
    texts = read_texts(data, splits)
    check_out(out, texts)  # before an encoder is fitted
    given = {name: value for name, value in options.items() if value is not None}

    def training_texts() -> list[str]:
        # Encoders are fitted on these, also where other splits are asked for.
        if "train" in texts or Path(data).is_file():
            return texts.get("train") or next(iter(texts.values()))
        return read_texts(data, ("train",))["train"]

    encoder = fitted_encoder(spec, training_texts, seed=seed, **given)
    precisions = precisions_of(encoder)
    for name, (precision, reason) in precisions.items():
        note(f"{name} computes in {precision}: {reason}", quiet=quiet)
    files = EmbeddedSplits(encoder, texts, out)
    files.begin()
    report: dict[str, Any] = {}
    for split, rows in texts.items():
        with progress_bar(split, total=len(rows), quiet=quiet or files.done[split]) as bar:
            report[split] = files.write(split, cache=not no_cache, progress=bar.count)
    if as_json:
        chosen = {name: precision for name, (precision, _) in precisions.items()}
        facts = {"encoder": spec, "kind": encoder.kind, "dim": encoder.dim, "precision": chosen}
        emit_json(facts | {"splits": report})
        return
    for entry in report.values():
        click.echo(f"{entry['file']}  {entry['rows']} x {encoder.dim}  {entry['status']}")
    if files.encoder_place.is_dir():
        note(f"encoder saved in {files.encoder_place}", quiet=quiet)
