"""Networks that ONNX Runtime runs: the same vectors, without torch."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from children import refusing
from cli_cases import ok, refused
from elias_cases import queries, train_data, without_ranker
from encoder_models import make_bert, make_sentence_transformer

from learned_index import ELIAS
from learned_index.encoders import (
    ConcatenatedEncoder,
    LSAEncoder,
    SentenceTransformerEncoder,
    TransformerEncoder,
    load_encoder,
)
from learned_index.encoders.exported import OnnxEncoder
from learned_index.encoders.transformer import export
from learned_index.errors import InputError, ModelFormatError

for package in ("onnx", "onnxruntime"):
    pytest.importorskip(package, reason=f"exporting needs {package}, of the extra onnx")

TEXTS = ["red fox", "", "A Blue sky, a GREEN sea", "word " * 300, "größe unknownword", "red fox"]
REFUSED = ("torch", "transformers", "sentence_transformers", "sklearn", "onnx", "faiss")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("networks")
    make_sentence_transformer(root / "st", make_bert(root / "bert"))
    return root


@pytest.fixture(scope="module")
def teacher(folder: Path) -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(str(folder / "st"))


@pytest.fixture(scope="module")
def made(teacher: SentenceTransformerEncoder) -> OnnxEncoder:
    return teacher.exported(["a map of the city"])


def test_its_vectors_are_those_of_torch(
    teacher: SentenceTransformerEncoder, made: OnnxEncoder, folder: Path
) -> None:
    assert made.dim == teacher.dim and made.max_length == teacher.max_length
    assert 0 <= made.difference <= 1e-3
    np.testing.assert_allclose(made.encode(TEXTS), teacher.encode(TEXTS), atol=1e-5)
    assert made.encode([]).shape == (0, made.dim)
    for options in ({"pooling": "cls"}, {"normalise": "none", "max_length": 8}):
        other = TransformerEncoder(str(folder / "bert"), **options)
        vectors = other.exported().encode(TEXTS)
        np.testing.assert_allclose(vectors, other.encode(TEXTS), atol=1e-5)


def test_a_vector_depends_on_its_text_alone(made: OnnxEncoder) -> None:
    together = made.encode(TEXTS)
    for row, text in enumerate(TEXTS):
        np.testing.assert_array_equal(made.encode([text])[0], together[row])


def test_a_saved_one_gives_the_same_bits(made: OnnxEncoder, tmp_path: Path) -> None:
    made.save_pretrained(tmp_path / "a")
    again = load_encoder(tmp_path / "a")
    assert isinstance(again, OnnxEncoder)
    (tmp_path / "a").rename(tmp_path / "b")
    again.save_pretrained(tmp_path / "c")
    copied = pickle.loads(pickle.dumps(made))
    for other in (again, load_encoder(tmp_path / "c"), copied):
        np.testing.assert_array_equal(other.encode(TEXTS), made.encode(TEXTS))
        assert other.fingerprint() == made.fingerprint()
    (tmp_path / "b" / "network.onnx").write_bytes(b"damaged")
    with pytest.raises(ModelFormatError):
        load_encoder(tmp_path / "b")


def test_a_graph_that_gives_other_vectors_is_refused_with_the_figure(
    teacher: SentenceTransformerEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = export.write_float32

    def changed(encoder: SentenceTransformerEncoder, path: Path) -> None:
        other = pickle.loads(pickle.dumps(encoder))
        for parameter in other.parameters():
            parameter.data *= 1.5
        write(other, path)

    monkeypatch.setattr(export, "write_float32", changed)
    with pytest.raises(InputError, match=r"differ from torch's by up to 0\.\d+, expected at most"):
        teacher.exported()


@pytest.fixture(scope="module")
def saved(teacher: SentenceTransformerEncoder, folder: Path) -> Path:
    """A trained model with a network beside words."""
    train = train_data()
    model = without_ranker(ConcatenatedEncoder([teacher, LSAEncoder(dim=8)]))
    model.fit(list(train.texts or []), train.labels, vocabulary=train.vocabulary)
    model.save_pretrained(folder / "model")
    return folder / "model"


SEARCH = """
import sys
import json, numpy as np
from learned_index import ELIAS
found = ELIAS.from_pretrained(sys.argv[1]).search(json.loads(sys.argv[2]), 5)
np.savez(sys.argv[3], ids=found.ids, scores=found.scores)
"""


def test_a_compiled_model_with_a_network_answers_without_torch(saved: Path, tmp_path: Path) -> None:
    import json

    told = ok("compile", saved, "--out", tmp_path / "fast", "--onnx")
    assert "exported: its vectors differ from torch's by up to" in told
    texts, out = queries(), tmp_path / "out.npz"
    code = refusing(REFUSED) + SEARCH
    command = [sys.executable, "-c", code, tmp_path / "fast", json.dumps(texts), out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = ELIAS.from_pretrained(tmp_path / "fast").search(texts, 5)
    with_torch = ELIAS.from_pretrained(saved).to_engine().search(texts, 5)
    with np.load(out) as found:
        np.testing.assert_array_equal(found["ids"], expected.ids)
        np.testing.assert_array_equal(found["scores"], expected.scores)
        np.testing.assert_allclose(found["scores"], with_torch.scores, atol=1e-3)


def test_a_model_without_a_network_has_nothing_to_export(tmp_path: Path) -> None:
    train = train_data()
    model = without_ranker(LSAEncoder(dim=8))
    model.fit(list(train.texts or []), train.labels, vocabulary=train.vocabulary)
    with pytest.raises(InputError, match="no network"):
        model.to_engine(networks="onnx")
    model.save_pretrained(tmp_path / "words")
    message = refused("compile", tmp_path / "words", "--out", tmp_path / "fast", "--onnx")
    assert "no network" in message and not (tmp_path / "fast").exists()
