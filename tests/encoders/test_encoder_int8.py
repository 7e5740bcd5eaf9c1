"""int8 encoders: near float32, the same alone and among others, and never of older weights."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoder_models import make_bert, make_sentence_transformer, sample_texts

from learned_index.encoders import (
    SentenceTransformerEncoder,
    TransformerEncoder,
    load_encoder,
    parse_encoder,
)
from learned_index.encoders.transformer import devices, int8
from learned_index.errors import InputError, MissingExtraError

for package in ("onnxruntime", "onnx"):
    pytest.importorskip(package, reason=f"{package} is not installed (the extra onnx)")

TEXTS = [*sample_texts(70), ""]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, on a processor that multiplies int8 and no bfloat16."""
    monkeypatch.setenv("LEARNED_INDEX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(int8, "cpu_multiplies_int8", lambda: True)
    monkeypatch.setattr(devices, "_cpu_multiplies_bfloat16", lambda: False)
    return tmp_path / "cache" / int8.FOLDER


def cosines(x_BD: np.ndarray, y_BD: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(x_BD, axis=1) * np.linalg.norm(y_BD, axis=1)
    return (x_BD * y_BD).sum(1) / lengths


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("normalise", ["l2", "none"])
def test_int8_is_near_float32(bert: Path, pooling: str, normalise: str) -> None:
    options = {"pooling": pooling, "normalise": normalise, "device": "cpu"}
    exact = TransformerEncoder(bert, **options)
    rounded = TransformerEncoder(bert, precision="int8", **options)
    x_BD, y_BD = exact.encode(TEXTS), rounded.encode(TEXTS)
    assert y_BD.dtype == np.float32
    assert cosines(x_BD, y_BD).mean() > 0.99
    assert np.abs(x_BD - y_BD).max() > 1e-4  # it did round
    np.testing.assert_allclose(
        np.linalg.norm(x_BD, axis=1), np.linalg.norm(y_BD, axis=1), rtol=0.05
    )
    assert exact.fingerprint() != rounded.fingerprint()


def test_int8_sentence_transformer(bert: Path, tmp_path: Path) -> None:
    folder = make_sentence_transformer(tmp_path / "st", bert)
    exact = SentenceTransformerEncoder(folder, device="cpu")
    rounded = SentenceTransformerEncoder(folder, device="cpu", precision="int8")
    assert cosines(exact.encode(TEXTS), rounded.encode(TEXTS)).mean() > 0.99


def test_int8_minilm_finds_the_same_neighbours() -> None:
    texts = sample_texts(60, seed=3)
    exact, rounded = (
        parse_encoder("minilm", precision="float32"),
        parse_encoder("minilm", precision="auto"),
    )
    assert rounded.precision == "int8"
    x_ND, y_ND = exact.encode(texts), rounded.encode(texts)
    assert cosines(x_ND, y_ND).mean() > 0.99

    def nearest(vectors_ND: np.ndarray) -> np.ndarray:
        return np.argsort(-vectors_ND @ vectors_ND.T, axis=1)[:, 1:11]

    shared = [len({*a} & {*b}) / 10 for a, b in zip(nearest(x_ND), nearest(y_ND), strict=True)]
    assert np.mean(shared) > 0.8


def test_a_text_has_the_same_bits_alone_and_among_others(bert: Path) -> None:
    encoder = TransformerEncoder(bert, precision="int8", device="cpu")
    together = encoder.encode(TEXTS)
    backwards = encoder.encode(TEXTS[::-1])[::-1]
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_array_equal(alone, together)
    np.testing.assert_array_equal(backwards, together)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        np.testing.assert_array_equal(encoder.encode(TEXTS), together)
        torch.set_num_threads(3)
        np.testing.assert_array_equal(encoder.encode(TEXTS), together)
    finally:
        torch.set_num_threads(threads)
    assert encoder.encode([]).shape == (0, 32)


def _in_place(encoder: TransformerEncoder) -> None:
    with torch.no_grad():
        encoder.model.encoder.layer[1].output.dense.weight.neg_()


def _behind_the_counter(encoder: TransformerEncoder) -> None:
    encoder.model.encoder.layer[1].output.dense.weight.data *= -1


def _replaced(encoder: TransformerEncoder) -> None:
    dense = encoder.model.encoder.layer[1].output.dense
    dense.weight = torch.nn.Parameter(-dense.weight.detach())


@pytest.mark.parametrize("change", [_in_place, _behind_the_counter, _replaced])
def test_changed_weights_make_another_graph(
    bert: Path, tmp_path: Path, change: Any, cache: Path
) -> None:
    encoder = TransformerEncoder(bert, precision="int8", device="cpu")
    before = encoder.encode(TEXTS)
    change(encoder)
    after = encoder.encode(TEXTS)
    assert np.abs(after - before).max() > 0.05
    assert len(list(cache.iterdir())) == 1  # what is in training is not kept
    encoder.save_pretrained(tmp_path / "saved")
    assert not list((tmp_path / "saved").rglob("*.onnx"))
    loaded = load_encoder(tmp_path / "saved")
    assert loaded.precision == "int8"
    np.testing.assert_array_equal(loaded.encode(TEXTS), after)


def test_a_single_query_sees_changed_weights(bert: Path) -> None:
    encoder = TransformerEncoder(bert, precision="int8", device="cpu")
    before = encoder.encode(TEXTS[:1])
    _in_place(encoder)
    assert np.abs(encoder.encode(TEXTS[:1]) - before).max() > 0.01


def test_in_training_torch_encodes(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = TransformerEncoder(bert, precision="int8", device="cpu")
    rounded = encoder.encode(TEXTS)
    encoder.train()
    monkeypatch.setattr(int8, "_write_graph", None)  # not even a graph is made
    _in_place(encoder)
    exact = encoder.encode(TEXTS)
    plain = TransformerEncoder(bert, device="cpu")
    _in_place(plain)
    np.testing.assert_array_equal(exact, plain.encode(TEXTS))
    assert encoder.training
    assert np.abs(exact - rounded).max() > 0.01
    loss = encoder(encoder.tokenize(TEXTS[:4])).sum()
    loss.backward()
    assert encoder.model.encoder.layer[0].output.dense.weight.grad is not None


def test_the_graph_is_made_once(bert: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = TransformerEncoder(bert, precision="int8", device="cpu")
    (file,) = cache.iterdir()
    written = file.stat().st_mtime_ns
    TransformerEncoder(bert, precision="int8", device="cpu", max_length=8)
    assert file.stat().st_mtime_ns == written
    TransformerEncoder(bert, precision="int8", device="cpu", pooling="cls")
    assert len(list(cache.iterdir())) == 2
    for damaged in (b"", file.read_bytes()[:-1000], b"nonsense" * 100):
        file.write_bytes(damaged)
        again = TransformerEncoder(bert, precision="int8", device="cpu")
        np.testing.assert_array_equal(again.encode(TEXTS), first.encode(TEXTS))
        assert file.stat().st_size > 1000
    monkeypatch.setenv("LEARNED_INDEX_CACHE", "off")
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    uncached = TransformerEncoder(bert, precision="int8", device="cpu")
    np.testing.assert_array_equal(uncached.encode(TEXTS), first.encode(TEXTS))
    assert before == {path: path.stat().st_mtime_ns for path in cache.rglob("*")}


def test_a_graph_of_other_weights_in_the_cache_is_not_believed(
    bert: Path, tmp_path: Path, cache: Path
) -> None:
    first = TransformerEncoder(bert, precision="int8", device="cpu")
    (file,) = cache.iterdir()
    TransformerEncoder(make_bert(tmp_path / "b", seed=9), precision="int8", device="cpu")
    (other,) = set(cache.iterdir()) - {file}
    file.write_bytes(other.read_bytes())
    again = TransformerEncoder(bert, precision="int8", device="cpu")
    np.testing.assert_array_equal(again.encode(TEXTS), first.encode(TEXTS))


def test_a_cache_that_cannot_be_written_to(
    bert: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.write_text("a file where the cache should be")
    encoder = TransformerEncoder(bert, precision="int8", device="cpu")
    assert "the int8 graph is not kept" in caplog.text
    assert encoder.encode(TEXTS).shape == (len(TEXTS), 32)


def test_auto_is_int8_where_it_is_safe(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = TransformerEncoder(bert, precision="auto", device="cpu")
    assert encoder.precision == "int8"
    assert "checked" in encoder.precision_reason
    with monkeypatch.context() as patch:
        patch.setattr(int8, "cpu_multiplies_int8", lambda: False)
        encoder = TransformerEncoder(bert, precision="auto", device="cpu")
        assert (encoder.precision, "VNNI" in encoder.precision_reason) == ("float32", True)
    with monkeypatch.context() as patch:
        patch.setattr(int8, "missing_packages", lambda: ["onnxruntime"])
        encoder = TransformerEncoder(bert, precision="auto", device="cpu")
        assert encoder.precision == "float32"
        assert "pip install 'learned-index[onnx]'" in encoder.precision_reason
    with monkeypatch.context() as patch:
        patch.setattr(int8, "LEAST_COSINE", 1.1)
        encoder = TransformerEncoder(bert, precision="auto", device="cpu")
        assert (encoder.precision, "cosine" in encoder.precision_reason) == ("float32", True)
        with pytest.raises(InputError, match=r"mean cosine of .* expected 1\.1 or more"):
            TransformerEncoder(bert, precision="int8", device="cpu")
    monkeypatch.setattr(devices, "_cpu_multiplies_bfloat16", lambda: True)
    assert TransformerEncoder(bert, precision="auto", device="cpu").precision == "bfloat16"


def test_auto_leaves_what_cannot_be_exported(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", fail)
    encoder = TransformerEncoder(bert, precision="auto", device="cpu")
    assert encoder.precision == "float32"
    assert "RuntimeError: no such operator" in encoder.precision_reason


def test_an_int8_encoder_where_int8_cannot_be_had(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    TransformerEncoder(bert, precision="int8", device="cpu").save_pretrained(tmp_path / "saved")
    exact = TransformerEncoder(bert, device="cpu").encode(TEXTS)

    def missing(module: str, **_: Any) -> Any:
        raise MissingExtraError(f"{module} is not installed")

    monkeypatch.setattr(int8, "require", missing)
    with pytest.raises(MissingExtraError, match="onnxruntime is not installed"):
        TransformerEncoder(bert, precision="int8", device="cpu")
    with caplog.at_level(logging.WARNING):
        loaded = load_encoder(tmp_path / "saved")
    assert "computes in float32 here" in caplog.text
    assert loaded.precision == "float32"
    np.testing.assert_array_equal(loaded.encode(TEXTS), exact)


def test_int8_is_for_the_cpu(bert: Path) -> None:
    with pytest.raises(InputError, match="int8 is for the CPU, and the device is meta"):
        devices.choose_precision("int8", torch.device("meta"))
    encoder = TransformerEncoder(bert, precision="int8", device="cpu").to("meta")
    with pytest.raises(InputError, match="is on meta now"):
        encoder.encode(TEXTS[:2])


def test_copies_compute_the_same(bert: Path) -> None:
    encoder = TransformerEncoder(bert, precision="int8", device="cpu")
    twin = copy.deepcopy(encoder)
    np.testing.assert_array_equal(twin.encode(TEXTS), encoder.encode(TEXTS))
    _in_place(twin)
    assert np.abs(twin.encode(TEXTS) - encoder.encode(TEXTS)).max() > 0.01


def test_making_a_graph_says_nothing_and_leaves_the_logs_alone(
    bert: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    encoder = TransformerEncoder(bert, precision="int8", device="cpu")
    assert (root.handlers, root.filters) == ([], [])
    assert capfd.readouterr().err == ""
    assert encoder.model.config._attn_implementation != "eager"  # the copy's was changed


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", True),
        ("flags\t\t: fpu avx2 avx_vnni", True),
        ("flags\t\t: fpu avx2 avx512f", False),
        ("Features\t: fp asimd asimddp", True),
        ("model name\t: avx512_vnni", False),
    ],
)
def test_processors(line: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(int8.platform, "system", lambda: "Linux")
    monkeypatch.setattr(int8.Path, "read_text", lambda *_, **__: f"processor\t: 0\n{line}\n")
    assert int8.cpu_multiplies_int8() is expected


def test_progress_reaches_the_end(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "_TEXTS_A_ROUND", 32)
    calls: list[tuple[int, int]] = []
    encoder = TransformerEncoder(bert, precision="int8", device="cpu")
    encoder.encode(TEXTS, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(32, 71), (64, 71), (71, 71)]
