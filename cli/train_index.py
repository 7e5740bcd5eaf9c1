"""``li train-index``: data in, a saved text index out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from learned_index.cli.shared.common import (
    emit_json,
    handle_errors,
    json_option,
    note,
    quiet_option,
    threads_option,
    use_threads,
)
from learned_index.cli.shared.options import config_options, given_values
from learned_index.elias.presets import preset_configs, preset_encoder, preset_help, preset_names
from learned_index.errors import InputError
from learned_index.index.config import IndexConfig, TrainingConfig


@click.command(
    "train-index",
    epilog="Example: li train-index --data my-data --out model --seed 1 --encoder lsa",
)
@click.option("--data", required=True, type=str, help="Data folder, or api-docs.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Directory to write the model to."
)
@click.option("--overwrite", is_flag=True, help="Replace a saved model that is there.")
@click.option(
    "--preset",
    type=click.Choice(preset_names("train-index")),
    default="default",
    show_default=True,
    help=preset_help("train-index"),
)
@click.option(
    "--encoder",
    "encoder_spec",
    default=None,
    help="lsa, bow, minilm, a model name or path, a file of vectors ({split} in its name stands "
    "for train, dev, test), or several joined by +. Default: the preset's.",
)
@click.option(
    "--holdout",
    type=click.IntRange(min=0),
    default=None,
    help="Training points held out to measure on. Default: none if there is a dev split, else 1 % "
    "and at most 500; 0 trains on all and measures nothing.",
)
@click.option("--evaluate-test", is_flag=True, help="Measure on the test split too, at the end.")
@click.option(
    "--clustering-features",
    type=click.Choice(["tfidf", "none"]),
    default="tfidf",
    show_default=True,
    help="What the label clustering uses beside the vectors.",
)
@click.option(
    "--cache",
    default=None,
    help="Directory of encoded texts, used again for the same texts and encoder; off keeps "
    "nothing. Default: the user's cache directory.",
)
@config_options(IndexConfig)
@config_options(TrainingConfig)
@threads_option
@quiet_option
@json_option
@handle_errors
def train_index(
    data: str,
    out: Path,
    overwrite: bool,
    preset: str,
    encoder_spec: str | None,
    holdout: int | None,
    evaluate_test: bool,
    clustering_features: str,
    cache: str | None,
    threads: int | None,
    quiet: bool,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Train an index on the data folder and write it to the directory --out.

    Measures on the dev split, or on points held out from training; never on the test split
    unless --evaluate-test asks for it. Beside the model, OUT.report.json tells times, memory,
    versions and metrics. The same data, options, seed and thread count give an equal model, byte
    for byte.

    Options that are not given come from the preset. "auto" leaves a choice to the program.
    """
    from learned_index.cli.evaluate import print_metrics
    from learned_index.cli.shared.measure import measure
    from learned_index.cli.shared.pipeline import (
        Timings,
        check_labels,
        check_output,
        choose_points,
        encode_training_points,
        train_model,
    )
    from learned_index.cli.shared.report import write_report
    from learned_index.cli.shared.sources import (
        encode_points,
        feature_count,
        points_for,
        resolve_data,
        text_features,
    )
    from learned_index.system.environment import versions
    from learned_index.system.memory import peak_rss_mb
    from learned_index.text_index import trained_index

    index_config, training_config = preset_configs(
        preset,
        index=given_values(IndexConfig, parameters),
        training=given_values(TrainingConfig, parameters),
    )
    check_output(out, overwrite=overwrite)
    n_threads = use_threads(threads)
    timings = Timings()
    with timings.measure("read_seconds"):
        folder = resolve_data(data, quiet=quiet)
        if evaluate_test and "test" not in folder.splits:
            raise InputError(f"{folder.path} has no test split for --evaluate-test")
        whole, train, held_out = choose_points(folder, holdout, seed=training_config.seed)
        spec = encoder_spec or preset_encoder(preset, n_features=feature_count(train))
        check_labels(train, quiet=quiet)
    with timings.measure("encode_seconds"):
        encoder, embeddings = encode_training_points(
            spec, whole, train, cache=cache, seed=training_config.seed, quiet=quiet
        )
    with timings.measure("features_seconds"):
        features = None
        if clustering_features == "tfidf":
            features = text_features(train, quiet=quiet)
    with timings.measure("train_seconds"):
        model = train_model(
            train,
            encoder,
            embeddings,
            clustering_features=features,
            index_config=index_config,
            training_config=training_config,
            quiet=quiet,
        )
    with timings.measure("save_seconds"):
        model.save_pretrained(out, overwrite=overwrite)
    metrics: dict[str, dict[str, float | int]] = {}
    with timings.measure("evaluate_seconds"):
        if held_out is not None and held_out.split == "dev":
            metrics["dev"] = measure(model, held_out, cache=cache, quiet=quiet)
        elif held_out is not None:
            points = points_for(encoder, held_out)
            vectors = encode_points(encoder, points, what="encoding", cache=cache, quiet=quiet)
            metrics["held-out"] = measure(model, held_out, vectors=vectors, quiet=quiet)
        if evaluate_test:
            metrics["test"] = measure(model, folder.read("test"), cache=cache, quiet=quiet)
    summary: dict[str, Any] = {
        "model": str(out),
        "data": str(folder.path),
        "encoder": spec,
        "preset": preset,
        "n_points": train.n_points,
        "n_labels": train.n_labels,
        "n_clusters": model.index.n_clusters,
        "dim": model.index.dim,
        "threads": n_threads,
        **{name: round(seconds, 3) for name, seconds in timings.seconds.items()},
        "peak_rss_mb": peak_rss_mb(),
        "metrics": metrics,
        "index": model.index.config.to_dict(),
        "training": trained_index(model.index).training_config.to_dict(),
        "versions": versions(),
    }
    path = write_report(out, summary)
    if as_json:
        emit_json(summary)
        return
    click.echo(
        f"{out}: {train.n_labels} labels, {train.n_points} points, "
        f"{model.index.n_clusters} clusters, trained in {timings.seconds['train_seconds']:.0f} s"
    )
    for name, values in metrics.items():
        print_metrics(values, title=f"{name}: {values['n_points']} points, percent")
    click.echo(f"report: {path}")
    note(f'next: li search {out} "your question"', quiet=quiet)
