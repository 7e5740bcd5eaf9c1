"""Tiny models and texts that the encoder tests build in code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

WORDS = [
    "red",
    "blue",
    "green",
    "fox",
    "sky",
    "sea",
    "index",
    "search",
    "label",
    "cluster",
    "graph",
    "tree",
    "vector",
    "learned",
    "document",
    "text",
    "query",
    "model",
    "paper",
    "river",
    "stone",
    "music",
    "theory",
    "energy",
    "water",
    "steel",
    "bridge",
    "city",
    "map",
]
STRANGE = [
    "",
    " ",
    "\t\n\r\x0b",
    "\x00\x01\x7f control \x1b[31m",
    "emoji 🦊👩‍👩‍👧‍👦 flags 🇩🇪",
    "עברית שלום",
    "مرحبا بالعالم \u202e override",
    "北京大学 東京",
    "e\u0301 combining ﬁ ligature ß ẞ İ",
    "half a pair \ud83d here",
    "line\u2028separator\u0085next",
    "a",
    "!!! ??? ---",
    "0 1 2.5e-3",
    "red " * 20_000,
    "x" * 50_000,
]


def sample_texts(n: int, *, seed: int = 0) -> list[str]:
    """Make n texts of 1 to 40 words."""
    generator = np.random.default_rng(seed)
    return [
        " ".join(generator.choice(WORDS, size=int(generator.integers(1, 40)))) for _ in range(n)
    ]


def make_bert(folder: Path, *, seed: int = 0, max_positions: int = 64) -> Path:
    """Write a random two-layer BERT with a WordPiece vocabulary, as save_pretrained does."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    vocabulary += [letter for letter in letters if letter not in vocabulary]
    vocabulary += ["##" + letter for letter in letters]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    from tokenizers import BertWordPieceTokenizer

    words = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
    words.save(str(folder / "tokenizer.json"))
    tokenizer = BertTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), model_max_length=max_positions
    )
    tokenizer.save_pretrained(str(folder))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertModel(
            BertConfig(
                vocab_size=len(vocabulary),
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=64,
                max_position_embeddings=max_positions,
                initializer_range=0.3,
            )
        )
    model.eval().save_pretrained(str(folder))
    return folder


def make_sentence_transformer(folder: Path, bert: Path) -> Path:
    """Write a sentence-transformers model (mean pooling, normalised) around a tiny BERT."""
    from sentence_transformers import SentenceTransformer

    try:
        from sentence_transformers.sentence_transformer.modules import (
            Normalize,
            Pooling,
            Transformer,
        )
    except ImportError:  # before version 6
        from sentence_transformers.models import Normalize, Pooling, Transformer

    transformer = Transformer(str(bert), max_seq_length=48)
    pooling = Pooling(32, pooling_mode="mean")
    model = SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu")
    model.save_pretrained(str(folder), create_model_card=False)
    assert json.loads((folder / "modules.json").read_text())
    return folder
