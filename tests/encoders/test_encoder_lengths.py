"""How much of a text is read: chosen by labelled pairs, once, within its budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from encoder_models import make_bert, make_sentence_transformer, sample_texts

from learned_index import ELIAS
from learned_index.encoders import SentenceTransformerEncoder, load_encoder, parse_encoder
from learned_index.encoders.embed import EmbeddedSplits, fitted_encoder
from learned_index.encoders.transformer import int8, lengths
from learned_index.encoders.transformer.lengths import (
    BUDGET,
    chosen_length,
    label_pairs,
    log_ranks,
)
from learned_index.errors import InputError, NotFittedError
from learned_index.index.config import IndexConfig

N, L = 12_000, 200


def labels_of(seed: int = 0, n: int = N) -> sp.csr_matrix:
    """One to three labels a point."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.arange(n), rng.integers(1, 4, n))
    ones = np.ones(len(rows), np.float32)
    labels = sp.csr_matrix((ones, (rows, rng.integers(0, L, len(rows)))), shape=(n, L))
    labels.data[:] = 1
    return labels


class Reader:
    """Texts are "row length"; a vector knows the point's first label where it read ``tells``."""

    def __init__(self, labels_NL: sp.csr_matrix, tells: int) -> None:
        rng = np.random.default_rng(1)
        self.label_L = rng.normal(size=(labels_NL.shape[1], 32)).astype(np.float32)
        self.noise_N = rng.normal(size=(labels_NL.shape[0], 32)).astype(np.float32)
        self.labels_NL, self.tells = labels_NL, tells
        self.read: list[int] = []

    def count(self, texts: list[str]) -> np.ndarray:
        return np.array([int(text.split()[1]) for text in texts])

    def encode(self, texts: list[str], tokens: int) -> np.ndarray:
        rows = [int(text.split()[0]) for text in texts]
        self.read += [min(tokens, int(text.split()[1])) for text in texts]
        known = self.labels_NL[rows] @ self.label_L
        return known * (1.0 if tokens >= self.tells else 0.4) + self.noise_N[rows]


@pytest.mark.parametrize("tells", [1, 40, 60, 90, 120])
def test_the_shortest_length_that_loses_nothing_is_chosen_within_the_budget(tells: int) -> None:
    labels_NL = labels_of()
    reader = Reader(labels_NL, tells)
    texts = [f"{row} 200" for row in range(N)]
    choice = chosen_length(reader.count, reader.encode, texts, labels_NL)
    assert choice.tokens == min(cut for cut in lengths.CANDIDATES if cut >= tells)
    assert choice.pairs >= lengths.LEAST_PAIRS
    kept = 2 * choice.pairs * choice.tokens  # of the chosen length, which are used again
    assert (sum(reader.read) - kept) / (N * 128) == pytest.approx(choice.wasted)
    assert 0.02 < choice.wasted <= BUDGET
    assert type(choice).from_dict(choice.to_dict()) == choice


@pytest.mark.parametrize(
    ("tokens", "n", "expected"),
    [(20, N, 32), (33, N, 48), (36, N, 48), (200, 300, 128)],
    ids=["short", "hardly longer than 32", "nothing to save", "too few"],
)
def test_nothing_is_measured_where_nothing_is_to_be_gained(
    tokens: int, n: int, expected: int
) -> None:
    labels_NL = labels_of(n=n)
    reader = Reader(labels_NL, 1)
    choice = chosen_length(
        reader.count, reader.encode, [f"{row} {tokens}" for row in range(n)], labels_NL
    )
    assert (choice.tokens, choice.pairs, choice.wasted, reader.read) == (expected, 0, 0.0, [])


def test_vectors_that_are_not_used_again_count() -> None:
    labels_NL = labels_of()
    texts = [f"{row} 128" for row in range(N)]
    made = [
        chosen_length(reader.count, reader.encode, texts, labels_NL, reuses=reuses)
        for reuses in (True, False)
        for reader in (Reader(labels_NL, 60),)
    ]
    assert [choice.tokens for choice in made] == [64, 64]
    assert made[1].pairs < made[0].pairs
    assert made[1].wasted <= BUDGET


def test_pairs_share_a_label_and_no_point_comes_twice() -> None:
    labels_NL = labels_of()
    pairs = label_pairs(labels_NL, 500, seed=3)
    assert pairs.shape == (500, 2)
    assert len(np.unique(pairs)) == 1000
    shared = labels_NL[pairs[:, 0]].multiply(labels_NL[pairs[:, 1]]).sum(axis=1)
    assert (np.asarray(shared) > 0).all()
    np.testing.assert_array_equal(pairs, label_pairs(labels_NL, 500, seed=3))
    assert not label_pairs(sp.eye(50, format="csr"), 10, seed=0).size
    assert len(label_pairs(labels_NL[:900], 900, seed=0)) <= 450


def test_ranks_are_those_of_a_loop() -> None:
    labels_NL = labels_of()
    rows = label_pairs(labels_NL, 60, seed=0).ravel()
    x_SD = np.random.default_rng(0).normal(size=(120, 8)).astype(np.float32)
    labels_SL = labels_NL[rows]
    unit = x_SD / np.linalg.norm(x_SD, axis=1, keepdims=True)
    expected = []
    for one in range(120):
        partner = one + 1 if one % 2 == 0 else one - 1
        rank = 1
        for other in range(120):
            strange = not labels_SL[one].multiply(labels_SL[other]).nnz
            rank += bool(strange and unit[one] @ unit[other] > unit[one] @ unit[partner])
        expected.append(np.log(rank))
    found = log_ranks(x_SD, labels_SL)
    np.testing.assert_allclose(found, np.reshape(expected, (-1, 2)).mean(axis=1), rtol=1e-6)


# -- the encoder -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models")
    return make_sentence_transformer(place / "st", make_bert(place / "bert"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEARNED_INDEX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handful of pairs is enough to measure."""
    monkeypatch.setattr(lengths, "LEAST_PAIRS", 5)


def long_texts(n: int) -> list[str]:
    return [" ".join([text] * 8) for text in sample_texts(n)]


def test_an_encoder_without_labels_says_what_is_missing(folder: Path) -> None:
    encoder = SentenceTransformerEncoder(folder, max_length="auto", device="cpu")
    for use in (lambda: encoder.encode(["sea"]), encoder.fingerprint, encoder._config):
        with pytest.raises(NotFittedError, match="labelled texts"):
            use()
    assert encoder.length_choice is None
    with pytest.raises(InputError, match="'auto'"):
        SentenceTransformerEncoder(folder, max_length="short")  # type: ignore[arg-type]


def test_embedding_without_labels_is_refused_and_the_number_named(tmp_path: Path) -> None:
    encoder = fitted_encoder("minilm:auto", list)
    with pytest.raises(NotFittedError, match="such as minilm:128"):
        EmbeddedSplits(encoder, {"train": ["sea"]}, tmp_path / "vectors")
    assert parse_encoder("minilm:64").length_choice is None


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_what_was_chosen_is_saved_and_never_measured_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    if precision == "int8":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnx")
    options = {"device": "cpu", "precision": precision}
    texts = long_texts(400)
    encoder = SentenceTransformerEncoder(folder, max_length="auto", **options)
    encoder.choose_length(texts, labels_of(n=400)[:, :20])
    choice = encoder.length_choice
    assert choice is not None
    assert choice.pairs
    assert encoder.max_length == choice.tokens
    plain = SentenceTransformerEncoder(folder, max_length=choice.tokens, **options)
    assert encoder.fingerprint() == plain.fingerprint()
    if precision == "int8":
        runs = count_runs(monkeypatch)
    np.testing.assert_array_equal(encoder.encode(texts), plain.encode(texts))
    if precision == "int8":  # of the sample, the vectors were there
        assert runs() == 800 - len({*sample_rows(texts, encoder, choice.pairs)})
    encoder.save_pretrained(tmp_path / "saved")
    monkeypatch.setattr(lengths, "chosen_length", None)
    loaded = load_encoder(tmp_path / "saved")
    assert loaded.max_length == choice.tokens
    loaded.choose_length(texts, labels_of(n=400))
    np.testing.assert_array_equal(loaded.encode(texts[:5]), plain.encode(texts[:5]))


def sample_rows(texts: list[str], encoder: SentenceTransformerEncoder, pairs: int) -> list[bytes]:
    """The tokens of the texts of the sample."""
    rows = label_pairs(labels_of(n=400)[:, :20].tocsr(), pairs, seed=0).ravel()
    tokens = encoder.tokenize_all([texts[row] for row in rows])
    return [tokens.row(n)["input_ids"].tobytes() for n in range(len(rows))]


def count_runs(monkeypatch: pytest.MonkeyPatch):
    runs: list[int] = []
    run = int8._run
    monkeypatch.setattr(int8, "_run", lambda *given: (runs.append(1), run(*given))[1])
    return lambda: len(runs)


@pytest.mark.usefixtures("few")
def test_a_choice_is_kept_for_the_same_texts_and_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, labels_NL = long_texts(400), labels_of(n=400)
    first, again = (
        SentenceTransformerEncoder(folder, max_length="auto", device="cpu") for _ in range(2)
    )
    first.choose_length(texts, labels_NL)
    with monkeypatch.context() as patched:
        patched.setattr(type(again), "encode", None)  # nothing is encoded
        again.choose_length(texts, labels_NL)
    assert again.length_choice == first.length_choice
    assert again.max_length == first.max_length
    other = SentenceTransformerEncoder(folder, max_length="auto", device="cpu")
    with monkeypatch.context() as patched:
        patched.setattr(type(other), "encode", None)
        with pytest.raises(TypeError):
            other.choose_length(texts, labels_of(seed=1, n=400))
    assert other.length_choice is None


@pytest.mark.usefixtures("few")
def test_a_model_chooses_when_it_is_fitted(folder: Path, tmp_path: Path) -> None:
    encoder = SentenceTransformerEncoder(folder, max_length="auto", device="cpu")
    model = ELIAS(encoder, IndexConfig(n_clusters=4), ranker="none")
    texts = long_texts(120)
    model.fit(texts, labels_of(n=120)[:, :10])
    assert encoder.length_choice is not None
    model.save_pretrained(tmp_path / "model")
    loaded = ELIAS.from_pretrained(tmp_path / "model")
    assert loaded.encoder.max_length == encoder.max_length
    assert loaded.predict(texts[:3]) == model.predict(texts[:3])
