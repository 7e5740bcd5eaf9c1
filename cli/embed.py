"""``li embed``: texts to files of vectors."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from learned_index.cli.shared.common import (
    emit_json,
    handle_errors,
    json_option,
    note,
    output_console,
    progress_bar,
    quiet_option,
    threads_option,
    use_threads,
)

if TYPE_CHECKING:
    from learned_index.encoders import EncoderBase
    from learned_index.types import Float32Array

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
    from learned_index.errors import InputError

    path = Path(data)
    if path.is_file():
        from learned_index.data.formats.lines import iter_lines

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


def prepare_encoder(
    spec: str, data: str, texts: dict[str, list[str]], options: dict[str, Any]
) -> EncoderBase:
    """Make the encoder and fit it on the training texts; a saved encoder stays as it is.

    Raises:
        InputError: An unknown encoder, or there is no train split to fit it on.
    """
    from learned_index.encoders import parse_encoder
    from learned_index.encoders.base import ENCODER_FILE

    encoder = parse_encoder(spec, **options)
    if (Path(spec) / ENCODER_FILE).is_file():
        return encoder
    if encoder.needs_fit:
        train = texts.get("train")
        if train is None and not Path(data).is_file():
            train = read_texts(data, ("train",))["train"]
        encoder.fit(next(iter(texts.values())) if train is None else train)
    return encoder


def write_split(
    encoder: EncoderBase,
    texts: list[str],
    path: Path,
    *,
    split: str,
    cache: bool,
    quiet: bool,
) -> Float32Array:
    """Encode one split into a ``.npy`` file that appears when it is whole."""
    import numpy as np

    from learned_index.encoders import cached_encode
    from learned_index.persistence import atomic_file

    encoder.bind(texts, split)
    with progress_bar(split, total=len(texts), quiet=quiet) as bar:

        def show(done: int, total: int) -> None:
            bar.update(completed=done, total=total)

        if not cache or encoder.cost == "cheap":
            return encoder.encode_to_file(texts, path, progress=show)
        vectors = np.asarray(cached_encode(encoder, texts, split=split, progress=show))
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, vectors, allow_pickle=False)
    return vectors


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write which encoder and texts made each file; empty for one that is not whole yet."""
    from learned_index.persistence import atomic_file, write_json

    with atomic_file(path) as temporary:
        write_json(temporary, record)


def finished(path: Path, record: dict[str, Any], key: str, n_rows: int, dim: int) -> bool:
    """Whether ``path`` holds the vectors named by ``key`` from an earlier run."""
    from learned_index.encoders.chunked_file import open_vectors

    if record.get(path.name) != key or not path.is_file():
        return False
    try:
        return open_vectors(path).shape == (n_rows, dim)
    except (ValueError, OSError, EOFError):
        return False


@click.command(
    epilog="Example: li embed --data my-data --encoder minilm --out vectors; then: "
    "li train-index --data my-data --encoder vectors --out model"
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
@click.option("--seed", type=int, default=0, show_default=True, help="Seed (lsa, bow).")
@click.option("--no-cache", is_flag=True, help="Neither use nor fill the cache of vectors.")
@threads_option
@quiet_option
@json_option
@handle_errors
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
    from learned_index.encoders import save_encoder
    from learned_index.encoders.chunked_file import texts_digest
    from learned_index.encoders.precomputed import embed_record, read_embed_record
    from learned_index.errors import InputError

    claim(out)
    use_threads(threads)
    texts = read_texts(data, splits)
    one_file = out.suffix == ".npy"
    if one_file and len(texts) != 1:
        raise InputError(
            f"{out} is one file, the data have the splits {', '.join(texts)}; choose one with "
            "--split, or give a folder"
        )
    if not one_file and out.is_file():
        raise InputError(f"{out} is a file; give a folder, or a name ending in .npy")
    given = {name: value for name, value in options.items() if value is not None}
    encoder = prepare_encoder(spec, data, texts, {"seed": seed, **given})
    if encoder.sparse:
        raise InputError(f"the encoder {spec} makes sparse vectors; use lsa for dense ones")
    paths = {split: out if one_file else out / f"{split}.npy" for split in texts}
    record_path = embed_record(out)
    record = read_embed_record(record_path)
    fingerprint = encoder.fingerprint()
    keys = {split: f"{fingerprint}:{texts_digest(rows)}" for split, rows in texts.items()}
    done = {
        split: finished(path, record, keys[split], len(texts[split]), encoder.dim)
        for split, path in paths.items()
    }
    for split, path in paths.items():
        if path.exists() and path.name not in record:
            raise InputError(
                f"{path} was not written by li embed, so it is not overwritten; remove it, or "
                "choose another --out"
            )
        if not done[split]:
            record[path.name] = ""  # begun: until it is whole, nobody takes an older file for it
    if not all(done.values()):
        write_record(record_path, record)
    place = out.with_suffix(".encoder") if one_file else out / "encoder"
    if not one_file or encoder.needs_fit:
        save_encoder(encoder, place, overwrite=True)
    report: dict[str, Any] = {}
    for split, rows in texts.items():
        path = paths[split]
        start = time.perf_counter()
        if not done[split]:
            write_split(encoder, rows, path, split=split, cache=not no_cache, quiet=quiet)
            record[path.name] = keys[split]
        write_record(record_path, record)
        report[split] = {
            "file": str(path),
            "rows": len(rows),
            "seconds": round(time.perf_counter() - start, 3),
            "status": "unchanged" if done[split] else "written",
        }
    if as_json:
        emit_json({"encoder": spec, "kind": encoder.kind, "dim": encoder.dim, "splits": report})
        return
    for entry in report.values():
        output_console().print(
            f"{entry['file']}  {entry['rows']} x {encoder.dim}  {entry['status']}",
            markup=False,
            highlight=False,
        )
    note(f"encoder saved in {place}" if place.is_dir() else "", quiet=quiet or not place.is_dir())
