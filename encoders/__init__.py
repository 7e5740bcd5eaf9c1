"""Encoders: texts to vectors, behind one protocol.

Example:
    >>> from learned_index.encoders import parse_encoder
    >>> encoder = parse_encoder("lsa:2").fit(["a red fox", "a blue sky", "the red sky"])
    >>> encoder.encode(["blue fox"]).shape
    (1, 2)
"""

from learned_index.encoders.base import EncoderBase
from learned_index.encoders.cache import EmbeddingCache, cached_encode
from learned_index.encoders.concatenated import ConcatenatedEncoder
from learned_index.encoders.lexical.bow import BagOfWordsEncoder, Bags
from learned_index.encoders.lexical.lsa import LSAEncoder
from learned_index.encoders.lexical.tfidf import TfidfEncoder
from learned_index.encoders.precomputed import PrecomputedEncoder
from learned_index.encoders.sentence_transformer import SentenceTransformerEncoder
from learned_index.encoders.spec import CHOICES, parse_encoder
from learned_index.encoders.storage import encoder_class, load_encoder, save_encoder
from learned_index.encoders.transformer import TransformerEncoder

__all__ = [
    "CHOICES",
    "BagOfWordsEncoder",
    "Bags",
    "ConcatenatedEncoder",
    "EmbeddingCache",
    "EncoderBase",
    "LSAEncoder",
    "PrecomputedEncoder",
    "SentenceTransformerEncoder",
    "TfidfEncoder",
    "TransformerEncoder",
    "cached_encode",
    "encoder_class",
    "load_encoder",
    "parse_encoder",
    "save_encoder",
]
