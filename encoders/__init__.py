"""Encoders: texts to vectors, behind one protocol.

====================  =======================================================================
``base``              what all share: checked texts, saving and loading, the fingerprint
``registry``          descriptions such as ``"lsa:256"``
``lexical``           tf-idf, LSA, bag of words; rows of sparse features
``transformer``       pretrained networks
``concatenated``      several encoders side by side
``precomputed``       vectors from files (``vector_files``)
``callable``          a function of one's own
``chunked_file``      texts to vectors in chunks, into a file that a later run goes on with
``cache``, ``embed``  the cache of vectors; ``li embed``
====================  =======================================================================

Example:
    >>> from learned_index.encoders import parse_encoder
    >>> encoder = parse_encoder("lsa:2").fit(["a red fox", "a blue sky", "the red sky"])
    >>> encoder.encode(["blue fox"]).shape
    (1, 2)
"""

from typing import TYPE_CHECKING, Any

from learned_index.encoders.base import EncoderBase, load_encoder
from learned_index.encoders.cache import cached_encode
from learned_index.encoders.callable import CallableEncoder
from learned_index.encoders.concatenated import ConcatenatedEncoder
from learned_index.encoders.lexical.lsa import LSAEncoder
from learned_index.encoders.lexical.tfidf import TfidfEncoder
from learned_index.encoders.precomputed import PrecomputedEncoder
from learned_index.encoders.registry import CHOICES, parse_encoder
from learned_index.system.extras import lazy_attribute, missing_extra

if TYPE_CHECKING:
    from learned_index.encoders.distilled.static import StaticEncoder
    from learned_index.encoders.distilled.student import StudentEncoder
    from learned_index.encoders.lexical.bags import Bags
    from learned_index.encoders.lexical.bow import BagOfWordsEncoder
    from learned_index.encoders.transformer.models import (
        SentenceTransformerEncoder,
        TransformerEncoder,
    )

__all__ = [
    "CHOICES",
    "BagOfWordsEncoder",
    "Bags",
    "CallableEncoder",
    "ConcatenatedEncoder",
    "EncoderBase",
    "LSAEncoder",
    "PrecomputedEncoder",
    "SentenceTransformerEncoder",
    "StaticEncoder",
    "StudentEncoder",
    "TfidfEncoder",
    "TransformerEncoder",
    "cached_encode",
    "load_encoder",
    "parse_encoder",
]

# These are torch modules, and who searches with an LSA encoder needs no torch.
_TRAINABLE = {
    "BagOfWordsEncoder": "learned_index.encoders.lexical.bow",
    "Bags": "learned_index.encoders.lexical.bags",
    "SentenceTransformerEncoder": "learned_index.encoders.transformer.models",
    "StaticEncoder": "learned_index.encoders.distilled.static",
    "StudentEncoder": "learned_index.encoders.distilled.student",
    "TransformerEncoder": "learned_index.encoders.transformer.models",
}


def __getattr__(name: str) -> Any:
    try:
        return lazy_attribute(__name__, _TRAINABLE, name)
    except ModuleNotFoundError as error:
        raise missing_extra(error, name) from error
