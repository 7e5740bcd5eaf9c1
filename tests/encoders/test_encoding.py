"""What stands for an encoder, how the core finds the classes, and functions as encoders."""

from __future__ import annotations

import copy
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from counting_encoder import TEXTS
from encoder_models import make_bert, make_sentence_transformer

from learned_index.encoders import CallableEncoder, LSAEncoder, TfidfEncoder, load_encoder
from learned_index.encoding import as_encoder, check_encoder, dense_vectors, encoder_class
from learned_index.errors import InputError, MissingExtraError, NotFittedError
from learned_index.system.extras import EXTRA_OF, require


def lengths(texts: list[str]) -> np.ndarray:
    return np.array([[len(text), text.count(" "), 1] for text in texts], np.float64)


# ---- what stands for an encoder --------------------------------------------------------------


def test_a_description_is_an_encoder(tmp_path: Path) -> None:
    lsa = as_encoder("lsa:3", seed=5)
    assert (lsa.kind, lsa.dim, lsa.seed) == ("lsa", 3, 5)
    assert as_encoder("lsa:2+bow", seed=5).kind == "concatenated"
    saved = LSAEncoder(4).fit(TEXTS)
    saved.save_pretrained(tmp_path / "saved")
    for place in (tmp_path / "saved", str(tmp_path / "saved")):
        np.testing.assert_array_equal(as_encoder(place).encode(TEXTS), saved.encode(TEXTS))


def test_an_encoder_is_itself() -> None:
    encoder = LSAEncoder(3)
    assert as_encoder(encoder) is encoder

    class Foreign:
        kind, dim = "foreign", 2

        def fit(self, texts):
            return self

        def encode(self, texts):
            return np.zeros((len(texts), 2), np.float32)

    assert type(as_encoder(Foreign())) is Foreign


def test_a_sentence_transformer_is_an_encoder(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    class Mine(SentenceTransformer):
        pass

    folder = make_sentence_transformer(tmp_path / "st", make_bert(tmp_path / "bert"))
    model = Mine(str(folder), device="cpu")
    encoder = as_encoder(model)
    assert encoder.kind == "sentence-transformer"
    assert encoder.model is model
    expected = model.encode(TEXTS, show_progress_bar=False)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)


def test_a_function_is_an_encoder() -> None:
    encoder = as_encoder(lengths)
    assert isinstance(encoder, CallableEncoder)
    np.testing.assert_array_equal(encoder.fit(TEXTS).encode(TEXTS), lengths(TEXTS))


@pytest.mark.parametrize("value", [None, 3, ["lsa"], {"kind": "lsa"}, LSAEncoder])
def test_what_stands_for_no_encoder(value: object) -> None:
    with pytest.raises(InputError, match=r"'minilm'.*folder.*SentenceTransformer.*function.*LSAEn"):
        as_encoder(value)


def test_sparse_vectors_are_refused() -> None:
    for value in ("tfidf", TfidfEncoder()):
        with pytest.raises(InputError, match="makes sparse vectors"):
            as_encoder(value)
    with pytest.raises(InputError, match="makes sparse vectors"):
        dense_vectors(TfidfEncoder().fit(TEXTS), TEXTS)
    with pytest.raises(InputError, match="with fit and encode"):
        check_encoder(lengths)


# ---- finding classes -------------------------------------------------------------------------


def test_classes_are_found_by_their_kind() -> None:
    assert encoder_class("lsa") is LSAEncoder
    with pytest.raises(MissingExtraError, match=r"kind 'martian' \(there are .*lsa.*pip install"):
        encoder_class("martian")
    with pytest.raises(InputError, match="the kind of an encoder is 3"):
        encoder_class(3)


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, extra in (("sklearn", "train"), ("transformers", "text"), ("torch", "train")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtraError, match=rf"pip install 'learned-index\[{extra}\]'"):
            require(module)
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    with pytest.raises(MissingExtraError, match=r"learned-index\[train\]"):
        TfidfEncoder(word_ngrams=3).fit(TEXTS)  # words and pairs need no scikit-learn
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        require("no_such_module")  # no extra brings it


def test_every_extra_brings_what_it_is_named_for() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"]

    def brings(extra: str) -> set[str]:
        found = set()
        for requirement in extras[extra]:
            name, _, others = re.match(r"([\w-]+)(\[([\w,-]+)\])?", requirement).groups()
            found.add(name)
            for other in others.split(",") if name == "learned-index" else ():
                found |= brings(other)
        return found

    packages = {
        "sklearn": "scikit-learn",
        "faiss": "faiss-cpu",
        "yaml": "pyyaml",
        "mlflow": "mlflow-skinny",
        "llama_index": "llama-index-core",
        "haystack": "haystack-ai",
        "srsly": "spacy",
    }
    for module, extra in EXTRA_OF.items():
        if module != "huggingface_hub":  # transformers brings it
            assert packages.get(module, module.replace("_", "-")) in brings(extra), module


# ---- functions -------------------------------------------------------------------------------


def test_the_first_answer_says_the_dimension() -> None:
    encoder = CallableEncoder(lengths)
    with pytest.raises(NotFittedError):
        _ = encoder.dim
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    assert encoder.dim == 3
    assert encoder.encode([]).shape == (0, 3)
    assert not encoder.needs_fit


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: x.tolist(),
        lambda x: torch.tensor(x, requires_grad=True),
        lambda x: np.asfortranarray(x, np.float16),
        lambda x: x.astype(np.int32),
    ],
)
def test_a_function_may_return_any_array(answer) -> None:
    encoder = CallableEncoder(lambda texts: answer(lengths(texts)))
    np.testing.assert_array_equal(encoder.encode(TEXTS[:4]), lengths(TEXTS[:4]))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda texts: lengths(texts)[:-1], r"shape \(22, 3\), expected \(23, 3\)"),
        (lambda texts: lengths(texts)[0], r"of shape \(3,\)"),
        (lambda texts: lengths(texts)[:, :0], r"of shape \(23, 0\)"),
        (lambda texts: None, "object of shape"),
        (lambda texts: [[1], [2, 3]], "expected numbers"),
        (lambda texts: [["a"]] * len(texts), "expected numbers"),
        (lambda texts: lengths(texts) * np.nan, "vector of text 0 is not finite"),
    ],
)
def test_a_function_that_returns_something_else(answer, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CallableEncoder(answer).encode(TEXTS)


def test_the_dimension_stays() -> None:
    encoder = CallableEncoder(lengths).fit(TEXTS)
    encoder.function = lambda texts: lengths(texts)[:, :2]
    with pytest.raises(InputError, match=r"shape \(23, 2\), expected \(23, 3\)"):
        encoder.encode(TEXTS)
    with pytest.raises(InputError, match="expected a function"):
        CallableEncoder("lsa")


def test_a_saved_function_is_set_again(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        CallableEncoder(lengths).save_pretrained(tmp_path / "saved")
    CallableEncoder(lengths).fit(TEXTS).save_pretrained(tmp_path / "saved")
    assert "model.encoder.function = f" in (tmp_path / "saved" / "README.txt").read_text()
    loaded = load_encoder(tmp_path / "saved")
    assert loaded.dim == 3
    with pytest.raises(NotFittedError, match=r"model\.encoder\.function = f"):
        loaded.encode(TEXTS)
    loaded.function = lengths
    np.testing.assert_array_equal(loaded.encode(TEXTS), lengths(TEXTS))


def test_no_file_of_one_function_is_continued_by_another() -> None:
    encoder = CallableEncoder(lengths)
    before = encoder.fingerprint()
    assert copy.deepcopy(encoder).fingerprint() == before
    assert CallableEncoder(lengths).fingerprint() != before
    encoder.function = lengths
    assert encoder.fingerprint() != before
