"""``python -m benchmarks.peers``: its options, and the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.peers.data import held_out, whole
from benchmarks.peers.grids import MEMBERS, PEERS
from benchmarks.peers.table import differences, markdown
from benchmarks.peers.tuning import SELECTIONS, Row, Tuner
from learned_index.cli.shared.common import (
    EXIT_FAILURE,
    quiet_option,
    threads_option,
    use_threads,
)
from learned_index.data import open_dataset
from learned_index.data.dataset import Dataset
from learned_index.errors import InputError, LearnedIndexError
from learned_index.persistence import atomic_file, write_json
from learned_index.persistence.digest import digest
from learned_index.system.environment import describe_environment

KINDS = ("words", "vectors", "joined")


@click.command(
    epilog="Example: python -m benchmarks.peers --data l4s-en --vectors vectors --model ours=m0 "
    "--model ours=m1 --python pecos=pecos-env/bin/python --out results/peers-l4s-en"
)
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Data folder.")
@click.option(
    "--vectors",
    help="Folder with train.npy and test.npy, as li embed writes it, for the features vectors "
    "and joined: those of the model that the peers stand beside.",
)
@click.option(
    "--vectors-model",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="In place of --vectors: a saved model, whose (first) encoder makes them.",
)
@click.option("--features", default="words", show_default=True, help=f"Some of {','.join(KINDS)}.")
@click.option("--peers", "names", default=",".join(MEMBERS), show_default=True)
@click.option("--trials", type=click.IntRange(1, 12), default=8, show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--select", type=click.Choice(list(SELECTIONS)), default="P@5", show_default=True,
              help="What a setting is chosen by; mean: of P@1, P@5 and R@100.")  # fmt: skip
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="[NAME=]DIR",
    help="A saved model; may be given again. Models of one name are runs of one system.",
)
@click.option("--python", "interpreters", multiple=True, metavar="PEER=INTERPRETER",
              help="Interpreter of another environment, as in li compare.")  # fmt: skip
@click.option("--transformer", default="minilm", show_default=True,
              help="What XR-Transformer fine-tunes: a folder, or minilm.")  # fmt: skip
@click.option("--cache", help="As in li evaluate, for the vectors of models.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False))
@threads_option
@quiet_option
def peers(
    data: Path,
    vectors: str | None,
    vectors_model: Path | None,
    features: str,
    names: str,
    trials: int,
    seeds: int,
    select: str,
    models: tuple[str, ...],
    interpreters: tuple[str, ...],
    transformer: str,
    cache: str | None,
    out: Path,
    threads: int | None,
    quiet: bool,
) -> None:
    """Tune the peers on held-out training points, measure them on the test split, and compare.

    Each peer gets --trials settings of its grid (benchmarks/peers/grids.py) on each kind of
    features, chosen on a held-out tenth of the training points; then it is trained on all of them.
    Written to --out: peers.md, peers.json, and the values of each point (values/*.npz). What is
    finished there is not run again.
    """
    n_threads = use_threads(threads)
    kinds, wanted = _listed(features, KINDS, "--features"), _listed(names, PEERS, "--peers")
    folder = open_dataset(data)
    train, test = folder.read("train"), folder.read("test")
    dense = None
    if any(kind != "words" for kind in kinds):
        dense = _vectors(vectors, vectors_model, train, test, cache=cache, quiet=quiet)
    final = whole(train, test, dense)
    tuner = Tuner(
        out=out, tuning=held_out(final), final=final, n_trials=trials, n_seeds=seeds,
        select=select, threads=n_threads, python=_interpreters(interpreters),
        transformer=transformer,
        say=(lambda text: None) if quiet else (lambda text: click.echo(text, err=True)),
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    ours = _model_rows(tuner, models, train, test, cache=cache, quiet=quiet)
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for kind in kinds:
        for peer in wanted:
            try:
                rows.append(tuner.row(peer, kind))
            except LearnedIndexError as error:
                failed[f"{peer}, {kind}"] = str(error)
            _write(out, rows, ours, failed)  # what is there so far, for whoever looks
    click.echo((out / "peers.md").read_text(encoding="utf-8"))
    for name, why in failed.items():
        click.echo(f"{name} failed: {why}", err=True)
    if failed:
        raise click.exceptions.Exit(EXIT_FAILURE)


def _write(out: Path, rows: list[Row], ours: list[Row], failed: dict[str, str]) -> None:
    compared = {row.name: differences(row, rows) for row in ours} if rows else {}
    with atomic_file(out / "peers.md") as temporary:
        temporary.write_text(markdown(rows, ours, compared), encoding="utf-8", newline="\n")
    told = [
        {"system": row.name, "setting": row.setting, **row.means(), "runs": len(row.values),
         "std": {m: float(np.std([run[m].rate for run in row.values])) for m in row.means()},
         **row.facts}
        for row in [*rows, *ours]
    ]  # fmt: skip
    with atomic_file(out / "peers.json") as temporary:
        environment = describe_environment()
        write_json(
            temporary,
            {"rows": told, "compared": compared, "failed": failed, "environment": environment},
        )


def _model_rows(
    tuner: Tuner,
    models: tuple[str, ...],
    train: Dataset,
    test: Dataset,
    *,
    cache: str | None,
    quiet: bool,
) -> list[Row]:
    """Measure the saved models; those of one name are runs of one row."""
    from learned_index.cli.shared.sources import model_vectors
    from learned_index.comparison.reference import DEPTH
    from learned_index.elias.model import ELIAS
    from learned_index.evaluation.compared import SavedModel
    from learned_index.evaluation.search import search_points

    rows: dict[str, Row] = {}
    for number, text in enumerate(models):
        name, _, directory = text.rpartition("=")
        path = Path(directory)
        loaded = ELIAS.from_pretrained(path)

        def run(loaded: ELIAS = loaded) -> tuple[Any, dict[str, Any]]:
            vectors = model_vectors(loaded, test, cache=cache, quiet=quiet)
            found = search_points(loaded, test.points, DEPTH, vectors=vectors)
            return as_data_ids(found.ids, loaded.vocabulary.keys, train.vocabulary.keys), {}

        key = digest([tuner.final.digest(), SavedModel(path).digest()])
        values, _ = tuner.kept_values(f"model {name or path.name} {number}", key, run)
        row = rows.setdefault(name or path.name, Row(name or path.name, "—", []))
        row.values.append(values)
    return list(rows.values())


def as_data_ids(ids_NK: Any, model_keys: Any, data_keys: Any) -> Any:
    """Return answers of a model under the numbers that the data give to labels; -1 stays.

    Raises:
        InputError: The model knows labels that the data do not have.
    """
    number = {key: place for place, key in enumerate(data_keys)}
    unknown = [key for key in model_keys if key not in number]
    if unknown:
        raise InputError(
            f"the model knows {len(unknown)} labels that the data do not have, such as "
            f"{unknown[0]!r}; was it trained on other data?"
        )
    renumbered = np.array([*(number[key] for key in model_keys), -1], dtype=np.int64)
    return renumbered[ids_NK]  # -1 reads the last


def _vectors(
    spec: str | None, model: Path | None, train: Dataset, test: Dataset, **options: Any
) -> tuple[Any, Any]:
    from learned_index.cli.shared.sources import encode_split
    from learned_index.elias.model import ELIAS
    from learned_index.encoders.vector_files import read_vectors, split_file

    if (spec is None) == (model is None):
        raise InputError("features of vectors need --vectors or --vectors-model, and one of both")
    if spec is not None:
        return tuple(read_vectors(split_file(spec, split)) for split in ("train", "test"))  # type: ignore[return-value]
    loaded = ELIAS.from_pretrained(model)  # type: ignore[arg-type]
    return tuple(encode_split(loaded.encoder, split, **options) for split in (train, test))  # type: ignore[return-value]


def _interpreters(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, _, interpreter = text.partition("=")
        if name not in PEERS or not interpreter:
            raise InputError(f"--python {text} is not PEER=INTERPRETER, e.g. pecos=env/bin/python")
        found[name] = str(Path(interpreter).absolute()) if "/" in interpreter else interpreter
    return found


def _listed(text: str, known: Any, option: str) -> list[str]:
    found = [part.strip() for part in text.split(",") if part.strip()]
    wrong = [part for part in found if part not in known]
    if wrong or not found:
        raise InputError(f"{option} {text!r}: expected some of {', '.join(known)}")
    return list(dict.fromkeys(found))
