"""One suite over all encoders: what the protocol promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from encoder_models import STRANGE, make_bert, make_sentence_transformer, sample_texts

from learned_index.encoders import (
    BagOfWordsEncoder,
    ConcatenatedEncoder,
    EncoderBase,
    LSAEncoder,
    PrecomputedEncoder,
    SentenceTransformerEncoder,
    StaticEncoder,
    StudentEncoder,
    TfidfEncoder,
    TransformerEncoder,
    load_encoder,
)
from learned_index.errors import InputError, MissingExtraError, ModelFormatError, NotFittedError
from learned_index.types import Encoder

TRAIN = sample_texts(60)
QUERIES = sample_texts(30, seed=1)
KINDS = [
    "tfidf",
    "tfidf-char",
    "lsa",
    "bow",
    "bow-hashed",
    "static",
    "student",
    "transformer-mean",
    "transformer-cls",
    "sentence-transformer",
    "precomputed",
    "concatenated",
]
FREE_TEXT = [kind for kind in KINDS if kind != "precomputed"]
NEURAL = {"transformer-mean", "transformer-cls", "sentence-transformer", "concatenated"}
LEXICAL = [kind for kind in KINDS if kind not in NEURAL | {"precomputed"}]
TOLERANCE = 1e-5


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    bert = make_bert(root / "bert")
    vectors = root / "vectors"
    vectors.mkdir()
    generator = np.random.default_rng(0)
    np.save(vectors / "train.npy", generator.standard_normal((len(TRAIN), 8), np.float32))
    np.save(vectors / "test.npy", generator.standard_normal((len(QUERIES), 8), np.float32))
    st = make_sentence_transformer(root / "st", bert)
    return {"bert": bert, "st": st, "vectors": vectors}


def build(kind: str, models: dict[str, Path]) -> EncoderBase:
    if kind == "precomputed":
        return PrecomputedEncoder(models["vectors"]).bind(QUERIES, "test")
    return {
        "tfidf": lambda: TfidfEncoder(word_ngrams=2),
        "tfidf-char": lambda: TfidfEncoder(analyser="word+char", char_ngrams=(2, 3)),
        "lsa": lambda: LSAEncoder(16),
        "bow": lambda: BagOfWordsEncoder(16, init="random"),
        "bow-hashed": lambda: BagOfWordsEncoder(16, vocabulary="hashed", n_buckets=512),
        "static": lambda: StaticEncoder(str(models["st"])),
        "student": lambda: StudentEncoder(str(models["st"]), teaching_texts=40, min_df=1),
        "transformer-mean": lambda: TransformerEncoder(models["bert"], batch_size=4),
        "transformer-cls": lambda: TransformerEncoder(
            models["bert"], pooling="cls", normalise="none", max_length=32
        ),
        "sentence-transformer": lambda: SentenceTransformerEncoder(models["st"], batch_size=8),
        "concatenated": lambda: ConcatenatedEncoder(
            [LSAEncoder(8), TransformerEncoder(models["bert"])], weights=[1.0, 0.5]
        ),
    }[kind]().fit(TRAIN)


@pytest.fixture(scope="session")
def fitted(models: dict[str, Path]) -> dict[str, EncoderBase]:
    return {kind: build(kind, models) for kind in KINDS}


def dense(vectors: object) -> np.ndarray:
    return vectors.toarray() if sp.issparse(vectors) else np.asarray(vectors)


def stack(blocks: list[object]) -> np.ndarray:
    return np.concatenate([dense(block) for block in blocks])


@pytest.mark.parametrize("kind", KINDS)
def test_follows_the_protocol(kind: str, fitted: dict[str, EncoderBase]) -> None:
    encoder = fitted[kind]
    assert isinstance(encoder, Encoder)
    vectors = encoder.encode(QUERIES)
    assert vectors.shape == (len(QUERIES), encoder.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(dense(vectors)).all()
    assert sp.issparse(vectors) == encoder.sparse
    if encoder.sparse:
        assert isinstance(vectors, sp.csr_matrix)
        assert vectors.has_sorted_indices
        assert vectors.has_canonical_format


@pytest.mark.parametrize("kind", KINDS)
def test_no_texts_give_no_rows(kind: str, fitted: dict[str, EncoderBase]) -> None:
    vectors = fitted[kind].encode([])
    assert vectors.shape == (0, fitted[kind].dim)
    assert vectors.dtype == np.float32


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 7, 29])
def test_batch_size_does_not_matter(kind: str, size: int, fitted: dict[str, EncoderBase]) -> None:
    encoder = fitted[kind]
    whole = dense(encoder.encode(QUERIES))
    parts = stack([encoder.encode(QUERIES[n : n + size]) for n in range(0, len(QUERIES), size)])
    if kind in NEURAL:
        np.testing.assert_allclose(parts, whole, rtol=0, atol=TOLERANCE)
    else:
        np.testing.assert_array_equal(parts, whole)


@pytest.mark.parametrize("kind", sorted(NEURAL - {"concatenated"}))
@pytest.mark.parametrize("step", [1, 3, 64])
def test_step_size_and_order_change_rounding_only(
    kind: str, step: int, models: dict[str, Path], fitted: dict[str, EncoderBase]
) -> None:
    encoder = build(kind, models)
    encoder.batch_size = step
    order = np.random.default_rng(0).permutation(len(QUERIES))
    shuffled = encoder.encode([QUERIES[row] for row in order])
    expected = fitted[kind].encode(QUERIES)[order]
    np.testing.assert_allclose(shuffled, expected, rtol=0, atol=TOLERANCE)
    # Different texts have different vectors: the tolerance above can fail.
    assert np.abs(expected[0] - expected[1]).max() > 100 * TOLERANCE


@pytest.mark.parametrize("kind", FREE_TEXT)
def test_strange_texts(kind: str, fitted: dict[str, EncoderBase]) -> None:
    encoder = fitted[kind]
    together = dense(encoder.encode(STRANGE))
    assert np.isfinite(together).all()
    alone = stack([encoder.encode([text]) for text in STRANGE])
    np.testing.assert_allclose(together, alone, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", LEXICAL)
def test_empty_text_is_the_zero_vector(kind: str, fitted: dict[str, EncoderBase]) -> None:
    rows = dense(fitted[kind].encode(["", TRAIN[0], "  "]))
    assert not rows[[0, 2]].any()
    np.testing.assert_allclose(np.linalg.norm(rows[1]), 1, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_same_texts_same_bits(kind: str, fitted: dict[str, EncoderBase]) -> None:
    encoder = fitted[kind]
    np.testing.assert_array_equal(dense(encoder.encode(QUERIES)), dense(encoder.encode(QUERIES)))


@pytest.mark.parametrize("kind", KINDS)
def test_fitting_again_gives_the_same_encoder(
    kind: str, models: dict[str, Path], fitted: dict[str, EncoderBase]
) -> None:
    again = build(kind, models)
    assert again.fingerprint() == fitted[kind].fingerprint()
    np.testing.assert_array_equal(dense(again.encode(QUERIES)), dense(fitted[kind].encode(QUERIES)))


@pytest.mark.parametrize("kind", KINDS)
def test_save_and_load_bit_equal(kind: str, fitted: dict[str, EncoderBase], tmp_path: Path) -> None:
    encoder = fitted[kind]
    encoder.save_pretrained(tmp_path / "saved")
    loaded = load_encoder(tmp_path / "saved")
    assert type(loaded) is type(encoder)
    assert loaded.fingerprint() == encoder.fingerprint()
    assert loaded.dim == encoder.dim
    if kind == "precomputed":
        loaded.bind(QUERIES, "test")
    np.testing.assert_array_equal(dense(loaded.encode(QUERIES)), dense(encoder.encode(QUERIES)))
    loaded.save_pretrained(tmp_path / "again")
    files = sorted(p.relative_to(tmp_path / "saved") for p in (tmp_path / "saved").rglob("*.*"))
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".txt", ".jinja", ""}
    for name in files:
        if (tmp_path / "saved" / name).is_file():
            first = (tmp_path / "saved" / name).read_bytes()
            assert (tmp_path / "again" / name).read_bytes() == first, name


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused(
    kind: str, fitted: dict[str, EncoderBase], tmp_path: Path
) -> None:
    fitted[kind].save_pretrained(tmp_path / "saved")
    files = [p for p in (tmp_path / "saved").rglob("*") if p.is_file()]
    for path in files:
        whole = path.read_bytes()
        for damaged in (whole[: len(whole) // 2], b""):
            path.write_bytes(damaged)
            with pytest.raises(ModelFormatError, match=r"\w"):
                load_encoder(tmp_path / "saved")
        path.write_bytes(whole)
    load_encoder(tmp_path / "saved")
    edited = next(p for p in files if p.name == "encoder.json")
    edited.write_text(edited.read_text().replace(": ", ":  ", 1))
    with pytest.raises(ModelFormatError):
        load_encoder(tmp_path / "saved")


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_input(kind: str, fitted: dict[str, EncoderBase]) -> None:
    with pytest.raises(InputError, match="one string"):
        fitted[kind].encode("red fox")
    with pytest.raises(InputError, match="text 1 is a NoneType"):
        fitted[kind].encode(["red", None])


@pytest.mark.parametrize(
    "encoder", [TfidfEncoder(), LSAEncoder(), BagOfWordsEncoder()], ids=lambda e: e.kind
)
def test_unfitted(encoder: EncoderBase, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError, match=r"fit\(train_texts\)"):
        encoder.encode(["red"])
    with pytest.raises(NotFittedError):
        encoder.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    with pytest.raises(InputError, match="no texts"):
        encoder.fit([])


def test_other_fit_other_fingerprint(fitted: dict[str, EncoderBase]) -> None:
    other = LSAEncoder(16).fit(sample_texts(60, seed=5))
    assert other.fingerprint() != fitted["lsa"].fingerprint()


def test_load_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="not a directory"):
        load_encoder(tmp_path / "nothing")
    (tmp_path / "foreign").mkdir()
    with pytest.raises(ModelFormatError, match=r"holds no encoder\.json"):
        load_encoder(tmp_path / "foreign")
    (tmp_path / "foreign" / "encoder.json").write_text('{"kind": "martian", "config": {}}')
    with pytest.raises(MissingExtraError, match="no installed package brings"):
        load_encoder(tmp_path / "foreign")
    TfidfEncoder().fit(TRAIN).save_pretrained(tmp_path / "tfidf")
    with pytest.raises(ModelFormatError, match="kind 'tfidf', expected 'lsa'"):
        LSAEncoder.from_pretrained(tmp_path / "tfidf")
    with pytest.raises(InputError, match="not empty"):
        TfidfEncoder().fit(TRAIN).save_pretrained(tmp_path / "tfidf")


def test_saving_replaces_a_saved_encoder_only_when_told(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "saved"
    TfidfEncoder().fit(TRAIN).save_pretrained(str(out))
    with pytest.raises(InputError, match="overwrite=True"):
        TfidfEncoder().fit(TRAIN[:9]).save_pretrained(out)
    other = LSAEncoder(4).fit(TRAIN)
    other.save_pretrained(out, overwrite=True)
    assert load_encoder(str(out)).fingerprint() == other.fingerprint()
    assert [path.name for path in out.parent.iterdir()] == ["saved"]
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt"):
        other.save_pretrained(out, overwrite=True)
    with pytest.raises(ModelFormatError, match=r"notes\.txt"):
        LSAEncoder.from_pretrained(out)


def test_checksums_may_be_left_out(tmp_path: Path) -> None:
    LSAEncoder(4).fit(TRAIN).save_pretrained(tmp_path)
    arrays = tmp_path / "arrays.safetensors"
    content = bytearray(arrays.read_bytes())
    content[-1] ^= 1  # the last bit of a number
    arrays.write_bytes(content)
    with pytest.raises(ModelFormatError, match="checksum"):
        LSAEncoder.from_pretrained(tmp_path)
    assert LSAEncoder.from_pretrained(tmp_path, verify=False).dim == 4
