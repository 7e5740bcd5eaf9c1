"""What --encoder takes, and what importing the encoders costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from counting_encoder import TEXTS
from encoder_models import make_bert, make_sentence_transformer

from learned_index.cli.shared.sources import make_encoder
from learned_index.encoders import (
    ConcatenatedEncoder,
    EncoderBase,
    LSAEncoder,
    SentenceTransformerEncoder,
    TransformerEncoder,
    parse_encoder,
)
from learned_index.errors import InputError

X = np.random.default_rng(0).standard_normal((23, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bert(tmp_path_factory.mktemp("models") / "a+bert")


def test_specs(bert: Path, tmp_path: Path) -> None:
    def kind_and_dim(spec: str, **options: object) -> tuple[str, int]:
        encoder = parse_encoder(spec, **options)
        return encoder.kind, encoder.dim

    assert parse_encoder("tfidf").kind == "tfidf"
    assert kind_and_dim("lsa") == ("lsa", 256)
    assert kind_and_dim("lsa:512") == ("lsa", 512)
    assert kind_and_dim("bow:32", seed=3) == ("bow", 32)
    assert kind_and_dim("minilm", seed=3) == ("sentence-transformer", 384)
    assert kind_and_dim("lsa:16+minilm", batch_size=8) == ("concatenated", 400)
    assert kind_and_dim(str(bert), pooling="cls") == ("transformer", 32)
    assert kind_and_dim(f"hf:{bert}") == ("transformer", 32)
    assert parse_encoder(f"hf:{bert}:7").max_length == 7 != parse_encoder(f"hf:{bert}").max_length
    st = make_sentence_transformer(tmp_path / "st", bert)
    assert kind_and_dim(str(st)) == ("sentence-transformer", 32)
    assert kind_and_dim(f"lsa:8+{st}", weights=[1, 2]) == ("concatenated", 40)
    joined = parse_encoder("lsa:8 + bow", dim=5, seed=7)
    assert isinstance(joined, ConcatenatedEncoder)
    assert [part.dim for part in joined.encoders] == [8, 5]  # the description wins
    assert joined.encoders[0].seed == 7
    LSAEncoder(4).fit(TEXTS).save_pretrained(tmp_path / "saved")
    saved = parse_encoder(str(tmp_path / "saved"))
    np.testing.assert_array_equal(saved.encode(TEXTS), LSAEncoder(4).fit(TEXTS).encode(TEXTS))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lsaa", "Did you mean 'lsa'"),
        ("lsaa:8", "Did you mean 'lsa:8'"),
        ("", "Expected tfidf, lsa"),
        ("lsa+", "unknown encoder ''"),
        ("lsa:many", "expected a dimension"),
        ("lsa:0", "expected a dimension"),
        ("tfidf:3", "takes no number"),
        ("minilm:short", "expected a number of tokens"),
        ("two words", "unknown encoder 'two words'"),
        ("nobody/no-such-model", "hub cannot be reached.*Expected tfidf, lsa"),
        ("/no/such/folder", "does not exist.*Expected tfidf"),
        ("missing_{split}.npy", "no vectors for the split 'train'"),
        ("lsa+tfidf", "'tfidf' makes sparse vectors"),
    ],
)
def test_unknown_specs(spec: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=message):
        parse_encoder(spec)


def test_options_nobody_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no option beam"):
        parse_encoder("lsa", beam=3)
    with pytest.raises(InputError, match="no option beam"):
        parse_encoder("lsa+bow", dim=3, beam=3)
    with pytest.raises(InputError, match="holds neither a model"):
        parse_encoder(str(tmp_path))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="is no file of vectors"):
        parse_encoder(str(tmp_path / "notes.txt"))


def test_importing_the_encoders_loads_no_heavy_library() -> None:
    import subprocess
    import sys

    code = (
        "import sys, learned_index.encoders; "
        "heavy = {'transformers', 'sentence_transformers', 'sklearn'}; "
        "ours = {n for n in sys.modules if n.startswith('learned_index.encoders')}; "
        "print(sorted(heavy & set(sys.modules)))\n"
        # Those of words need no torch of their own.
        "print(len(ours), sorted(n for n in ours if 'torch' in vars(sys.modules[n])))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, lexical = out.stdout.splitlines()
    assert heavy == "[]"
    assert int(lexical.split()[0]) > 3 and lexical.endswith(" []")


def test_registered_classes_are_these() -> None:
    from importlib.metadata import entry_points

    classes: dict[str, type[EncoderBase]] = {
        entry.name: entry.load() for entry in entry_points(group="learned_index.encoders")
    }
    assert all(found.kind == name for name, found in classes.items())
    assert classes["transformer"] is TransformerEncoder
    assert classes["sentence-transformer"] is SentenceTransformerEncoder


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "²", "٣", "1_0", "9" * 10, ""])
@pytest.mark.parametrize("name", ["lsa", "bow", "minilm"])
def test_what_is_no_number_after_the_colon(name: str, number: str) -> None:
    with pytest.raises(InputError, match="after the colon"):
        parse_encoder(f"{name}:{number}")
    with pytest.raises(InputError, match="lsa:DIM"):
        make_encoder(f"lsa:{number}", has_texts=False, seed=0)


@pytest.mark.parametrize("spec", ["lsa:" + "9" * 5000, "a" * 300, "bow+" + "é" * 200, "x/" * 3000])
def test_a_description_that_is_too_long_for_a_name(spec: str) -> None:
    for make in (parse_encoder, lambda s: make_encoder(s, has_texts=False, seed=0)):
        with pytest.raises(InputError) as caught:
            make(spec)
        assert len(str(caught.value)) < 1000
