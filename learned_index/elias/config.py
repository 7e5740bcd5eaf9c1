"""Parameters of the full model beside those of its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from learned_index.config import Config, parameter


@dataclass(frozen=True, kw_only=True)
class EliasConfig(Config):
    """What an :class:`~learned_index.elias.ELIAS` model consists of."""

    ranker: Literal["sparse", "none"] = parameter(
        "sparse", "linear classifiers on [tf-idf, embedding] that order the shortlist, or none"
    )
    final_ranker: Literal["auto", "mixed", "trees", "linear", "fixed"] = parameter(
        "auto",
        "final order of the shortlist by all evidence, learned on the held-out points: gradient "
        "boosted trees, a log-linear model, the mean of both (mixed), or sqrt(p) sigmoid(2q) of "
        "index and ranker alone (fixed); auto: mixed, or fixed where that orders them as well, and "
        "from fewer than 100 points learns nothing",
    )
    records: Literal["auto", "yes", "no"] = parameter(
        "auto",
        "remember the training records: labels of the nearest ones are candidates and evidence "
        "of the final ranker, and changes of labels and updates need them; auto: up to 300,000 "
        "records, where a final ranker is learned; yes: in any case",
    )
    keep_sample: int | None = parameter(
        None,
        "remember at most so many training records, drawn evenly: a smaller model; updates go over "
        "them again, which protects what was learned; default: all",
    )
    refit: Literal["yes", "no"] = parameter(
        "yes",
        "once the final ranker is learned, train the sparse ranker on the held-out points too, "
        "and remember them",
    )
    calibration: Literal["auto", "tree", "isotonic", "logistic", "none"] = parameter(
        "auto",
        "probabilities from held-out points: tree (the paper's), isotonic, logistic; auto takes "
        "the one with the lowest held-out log-loss, and none where too few points can be held out",
    )
    label_text: Literal["auto", "on", "off"] = parameter(
        "auto",
        "texts of the labels (labels.txt) take part in training: labels whose names a text has "
        "join its shortlist, their texts are records and points of the ranker, and labels without "
        "a training point are answered by their texts; off: names are evidence of the final "
        "ranker only; on: always, and labels without texts are refused; auto: where a fifth of "
        "the labels' texts share a term with their points (and labels without points in any case)",
    )
    index_label_text: Literal["yes", "no"] = parameter(
        "no",
        "texts of the labels that take part in the ranking are points of the index too: by itself "
        "it then finds more rare labels, which the whole model finds in any case, and its training "
        "takes longer in proportion to their number",
    )
    n_models: int = parameter(1, "models with different clusterings whose scores are averaged")
    rerank_size: int = parameter(200, "labels of a query that the ranker orders (paper: 100)")
    ranker_shortlist: int = parameter(
        100, "labels of a training point's shortlist from which the ranker learns"
    )
    validation_fraction: float = parameter(
        0.05,
        "share of the training points held out to validate and calibrate on, at least 100 or a "
        "tenth of them; 0: none",
        low=0.0,
        below=1.0,
    )
    validation_limit: int = parameter(3000, "at most so many points are held out")
    train_encoder: Literal["auto", "yes", "no"] = parameter(
        "auto", "train the encoder with the index; auto: a bag of words yes, a pretrained one no"
    )
    clustering_features: Literal["tfidf", "none"] = parameter(
        "tfidf", "what the clustering of the labels uses beside the vectors"
    )
