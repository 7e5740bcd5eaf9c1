"""The two kinds of pretrained model: any transformer with pooling, any sentence-transformers model.

What differs between them stands here: who loads, who tokenises, how tokens become one vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Literal, Unpack

import numpy as np
from torch import Tensor

from learned_index.encoders.base import check_choice, check_texts
from learned_index.encoders.chunked_file import Progress, tell
from learned_index.encoders.transformer.hub import MINILM
from learned_index.encoders.transformer.network import NetworkEncoder, NetworkOptions
from learned_index.encoders.transformer.tokens import Features
from learned_index.errors import InputError
from learned_index.persistence.digest import digest
from learned_index.system.extras import require
from learned_index.types import Float32Array, Int64Array

Pooling = Literal["cls", "mean"]


def length_limit(config: Any, tokenizer: Any) -> int | None:
    """Most tokens that a model has positions for; None where it has no limit."""
    most = int(tokenizer.model_max_length)
    limits = [most] if 0 < most < 10**9 else []  # huge means: not known
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        # The RoBERTa family counts positions from pad_token_id + 1.
        offset = 2 if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet") else 0
        limits.append(positions - offset)
    return min(limits, default=None)


class TransformerEncoder(NetworkEncoder):
    """Texts to dense vectors with any ``AutoModel`` and its ``AutoTokenizer``, e.g. BERT.

    Args:
        model: See :class:`~learned_index.encoders.transformer.network.NetworkEncoder`.
        pooling: ``"mean"`` over the tokens, or ``"cls"``, the first token's vector.
        **options: See there too. Without ``max_length`` texts are cut to 256 tokens, or to the
            model's limit if it is lower.

    Example:
        >>> encoder = TransformerEncoder("bert-base-uncased", pooling="cls")  # doctest: +SKIP
        >>> encoder.encode(["red sky"]).shape  # doctest: +SKIP
        (1, 768)
    """

    kind: ClassVar[str] = "transformer"

    def __init__(
        self, model: str | Path, *, pooling: Pooling = "mean", **options: Unpack[NetworkOptions]
    ) -> None:
        check_choice("pooling", pooling, ("cls", "mean"))
        self.pooling: Pooling = pooling  # first: the base may compute, to check int8 vectors
        super().__init__(model, **options)

    def _open(self, folder: str) -> Any:
        library = require("transformers")
        safe = {"local_files_only": True, "trust_remote_code": False}
        self._tokenizer = library.AutoTokenizer.from_pretrained(folder, **safe)
        return library.AutoModel.from_pretrained(folder, use_safetensors=True, **safe)

    def _limited(self, max_length: int | None) -> int:
        limit = length_limit(self.model.config, self._tokenizer)
        if max_length is None:
            return min(256, limit or 256)
        self._check_length(max_length, limit)
        return int(max_length)

    @property
    def dim(self) -> int:
        """Hidden size of the model."""
        return int(self.model.config.hidden_size)

    @property
    def tokenizer(self) -> Any:
        """The Hugging Face tokeniser."""
        return self._tokenizer

    def _pooled(self, features: Features) -> Tensor:
        hidden_BTD: Tensor = self.model(**features).last_hidden_state
        if self.pooling == "cls":
            return hidden_BTD[:, 0].float()
        weight_BT1 = features["attention_mask"].unsqueeze(-1).float()
        return (hidden_BTD.float() * weight_BT1).sum(1) / weight_BT1.sum(1).clamp(min=1)

    def _copy_model(self, folder: str) -> None:
        self.model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def _config(self) -> dict[str, Any]:
        return super()._config() | {"pooling": self.pooling}

    def _settings(self) -> Any:
        names = ("pooling", "max_length", "normalise", "precision")
        return {name: value for name, value in self._config().items() if name in names}

    def structure(self) -> list[Any]:
        """The configuration of the model."""
        unimportant = ("_name_or_path", "transformers_version")
        settings = self.model.config.to_dict().items()
        return [{k: v for k, v in settings if k not in unimportant and is_plain(v)}]


class SentenceTransformerEncoder(NetworkEncoder):
    """Texts to dense vectors with a sentence-transformers model; MiniLM is the ready default.

    The library loads the model; encoding is this package's own loop, which sorts by tokens
    where the library sorts by characters and so pads less. Models with a default prompt, or
    whose first module is no transformer, go through the library's ``encode``.

    Args:
        model: See :class:`~learned_index.encoders.transformer.network.NetworkEncoder`; or a
            ``SentenceTransformer``, which is used as it is and where it is, not copied. It is
            saved as a copy.
        **options: See there too. Without ``max_length`` texts are cut as the model says (MiniLM:
            256).
    """

    kind: ClassVar[str] = "sentence-transformer"

    def __init__(self, model: Any = MINILM, **options: Unpack[NetworkOptions]) -> None:
        super().__init__(model, **options)

    def _load(self, model: Any) -> Any:
        if isinstance(model, str | Path):
            return super()._load(model)
        if self.save_weights == "reference":
            raise InputError(f"{self.name} has no place to refer to; save_weights is to be 'copy'")
        return model

    def _open(self, folder: str) -> Any:
        return require("sentence_transformers").SentenceTransformer(
            folder,
            device=str(self._first_device),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )

    def _limited(self, max_length: int | None) -> int:
        if max_length is not None:
            config = getattr(getattr(self.model[0], "auto_model", None), "config", None)
            positions = getattr(config, "max_position_embeddings", None)
            self._check_length(max_length, positions if isinstance(positions, int) else None)
            self.model.max_seq_length = max_length
        return int(self.model.max_seq_length or 512)

    @property
    def dim(self) -> int:
        """Vector length of the model (MiniLM: 384)."""
        # The method was renamed in version 6.
        dimension = getattr(self.model, "get_embedding_dimension", None)
        return int((dimension or self.model.get_sentence_embedding_dimension)())

    @property
    def tokenizer(self) -> Any:
        """The model's tokeniser."""
        return self.model.tokenizer

    @property
    def _own_loop(self) -> bool:
        """Whether tokenising here gives what the library's own preprocessing gives."""
        return (
            type(self.model[0]).__name__ == "Transformer"
            and isinstance(self.tokenizer, require("transformers").PreTrainedTokenizerBase)
            and not getattr(self.model, "default_prompt_name", None)
        )

    @property
    def lowers(self) -> bool:
        """Whether the model's first module folds texts to lower case."""
        return bool(getattr(self.model[0], "do_lower_case", False))

    def _cased(self, texts: Sequence[str]) -> list[str]:
        checked = check_texts(texts)
        return [text.lower() for text in checked] if self.lowers else checked

    def tokenize(self, texts: Sequence[str]) -> Features:
        """Return what :meth:`forward` takes, on the encoder's device."""
        if self._own_loop:
            return super().tokenize(self._cased(texts))
        preprocess = getattr(self.model, "preprocess", None) or self.model.tokenize
        return self._to_device(dict(preprocess(check_texts(texts))))

    def tokenize_all(self, texts: Sequence[str]) -> Any:
        """Tokens of N texts; the texts themselves where the library must tokenise them."""
        return super().tokenize_all(self._cased(texts)) if self._own_loop else check_texts(texts)

    def collate(self, tokens: Any, rows: Int64Array) -> Features:
        """What :meth:`forward` takes for some texts of what :meth:`tokenize_all` gave."""
        if isinstance(tokens, list):
            return self.tokenize([tokens[row] for row in rows])
        return super().collate(tokens, rows)

    def encode_tokens(
        self, tokens: Any, *, out: Float32Array | None = None, progress: Progress | None = None
    ) -> Float32Array:
        """Encode what :meth:`tokenize_all` gave, in evaluation mode without gradients."""
        if not isinstance(tokens, list):
            return super().encode_tokens(tokens, out=out, progress=progress)
        vectors_ND = np.zeros((len(tokens), self.dim), np.float32) if out is None else out
        if tokens:
            vectors_ND[:] = self.model.encode(
                tokens,
                batch_size=self.batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=self.normalise == "l2",
            )
        tell(progress, len(tokens), len(tokens))
        return vectors_ND

    def _why_not_int8(self) -> str:
        return super()._why_not_int8() if self._own_loop else "its library encodes, in float32"

    def _pooled(self, features: Features) -> Tensor:
        # A copy: the library's modules write what they compute into the dictionary.
        x_BD: Tensor = self.model(dict(features))["sentence_embedding"]
        return x_BD

    def _copy_model(self, folder: str) -> None:
        self.model.save_pretrained(folder, create_model_card=False)

    def structure(self) -> list[Any]:
        """What the library's modules say of themselves."""
        return [[repr(module) for module in self.model]]


def is_plain(value: Any) -> bool:
    """Whether a value of a model's configuration is JSON-able."""
    with suppress(TypeError, ValueError):
        return bool(digest(value))
    return False
