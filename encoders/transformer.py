"""Any Hugging Face transformer with CLS or mean pooling."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from torch import Tensor, nn

from learned_index.encoders.base import digest
from learned_index.encoders.hub import check_safe, quiet_loading, resolve_model
from learned_index.encoders.neural import (
    AnyPrecision,
    Features,
    NeuralEncoder,
    SaveWeights,
    forget_last_call,
    state_digest,
)
from learned_index.errors import InputError, ModelFormatError

MODEL_FOLDER = "model"
Pooling = Literal["cls", "mean"]


def pool_tokens(hidden_BTD: Tensor, mask_BT: Tensor, pooling: Pooling) -> Tensor:
    """Make one vector of the token vectors of each text.

    Args:
        hidden_BTD: B x T x D, last hidden states.
        mask_BT: B x T, 1 on tokens and 0 on padding.
        pooling: ``"cls"``: the first token; ``"mean"``: the mean over tokens.

    Returns:
        B x D float32.
    """
    if pooling == "cls":
        return hidden_BTD[:, 0].float()
    weight_BT1 = mask_BT.unsqueeze(-1).float()
    return (hidden_BTD.float() * weight_BT1).sum(1) / weight_BT1.sum(1).clamp(min=1)


def length_limit(config: Any, tokenizer: Any) -> int | None:
    """Most tokens that a model has positions for; None where it has no limit."""
    limits = []
    if 0 < int(tokenizer.model_max_length) < 10**9:  # huge means: not known
        limits.append(int(tokenizer.model_max_length))
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        # The RoBERTa family counts positions from pad_token_id + 1.
        offset = 2 if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet") else 0
        limits.append(positions - offset)
    return min(limits, default=None)


class TransformerEncoder(NeuralEncoder):
    """Texts to dense vectors with any ``AutoModel`` and its ``AutoTokenizer``, e.g. BERT.

    Also an ``nn.Module``: ``encoder(encoder.tokenize(texts))`` gives B x D float32 with
    gradients, for training end to end. The empty text has the vector of its special tokens.

    Only safetensors weights are read and no code from a model's repository is run.

    Args:
        model: A folder written by ``save_pretrained``, or a name on the Hugging Face hub.
        pooling: ``"mean"`` over the tokens, or ``"cls"``, the first token's vector.
        max_length: Texts are cut to so many tokens. None: 256, or the model's limit if lower.
        normalise: ``"l2"`` scales vectors to length 1; ``"none"`` leaves them.
        device: ``"auto"`` (first GPU, else CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
        precision: ``"bfloat16"`` runs under autocast: faster on GPUs and on CPUs that multiply it
            natively, vectors differ by ~1e-2. ``"auto"``: bfloat16 on such devices.
        batch_size: Texts per step of ``encode``.
        save_weights: ``"copy"`` stores model and tokeniser in the encoder's directory. It is the
            default, because a hub name can vanish or change, a path can move, and weights that
            were trained further exist nowhere else. ``"reference"`` stores the name and a
            checksum, for large shared models; weights that were changed are then refused.

    Raises:
        InputError: No such model, unsafe weights, or a ``max_length`` beyond the model's limit.

    Example:
        >>> encoder = TransformerEncoder("bert-base-uncased", pooling="cls")  # doctest: +SKIP
        >>> encoder.encode(["red sky"]).shape  # doctest: +SKIP
        (1, 768)
    """

    kind: ClassVar[str] = "transformer"

    def __init__(
        self,
        model: str | Path,
        *,
        pooling: Pooling = "mean",
        max_length: int | None = None,
        normalise: Literal["l2", "none"] = "l2",
        device: str = "auto",
        precision: AnyPrecision = "float32",
        batch_size: int = 16,
        save_weights: SaveWeights = "copy",
    ) -> None:
        super().__init__(device=device, batch_size=batch_size, precision=precision)
        for name, value, choices in (
            ("pooling", pooling, ("cls", "mean")),
            ("normalise", normalise, ("l2", "none")),
            ("save_weights", save_weights, ("copy", "reference")),
        ):
            if value not in choices:
                raise InputError(f"{name} is {value!r}, expected one of {', '.join(choices)}")
        self.name = str(model)
        self.pooling: Pooling = pooling
        self.normalise = normalise
        self.save_weights: SaveWeights = save_weights
        self._load_model(resolve_model(self.name))
        limit = length_limit(self.model.config, self._tokenizer)
        if max_length is not None and (max_length < 1 or (limit and max_length > limit)):
            raise InputError(
                f"max_length is {max_length}, expected 1 to {limit}, the limit of {self.name}"
            )
        self._max_length = int(max_length or min(256, limit or 256))
        self._loaded_digest = state_digest(self.model) if save_weights == "reference" else None

    def _load_model(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        check_safe(folder)
        with quiet_loading():
            try:
                self._tokenizer = AutoTokenizer.from_pretrained(
                    str(folder), local_files_only=True, trust_remote_code=False
                )
                model: nn.Module = AutoModel.from_pretrained(
                    str(folder),
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                )
            except Exception as error:  # the library raises many types here
                reason = (str(error).strip().splitlines() or [""])[0]
                raise InputError(
                    f"{folder} cannot be loaded as a transformer ({type(error).__name__}: "
                    f"{reason:.300}); expected model and tokeniser saved by save_pretrained"
                ) from error
        self.model: Any = model.float().to(self._first_device).eval()
        self.eval()

    @property
    def dim(self) -> int:
        """Hidden size of the model."""
        return int(self.model.config.hidden_size)

    @property
    def tokenizer(self) -> Any:
        """The Hugging Face tokeniser."""
        return self._tokenizer

    @property
    def max_length(self) -> int:
        """Texts are cut to so many tokens, special ones included."""
        return self._max_length

    def forward(self, features: Features) -> Tensor:
        """Encode tokenised texts with gradients.

        Args:
            features: From :meth:`tokenize`: ``input_ids`` and ``attention_mask``, B x T int64.

        Returns:
            B x D float32.
        """
        hidden_BTD = self.model(**features).last_hidden_state
        x_BD = pool_tokens(hidden_BTD, features["attention_mask"], self.pooling)
        return nn.functional.normalize(x_BD, dim=1) if self.normalise == "l2" else x_BD

    def _config(self) -> dict[str, Any]:
        return {
            "model": self.name,
            "pooling": self.pooling,
            "max_length": self._max_length,
            "normalise": self.normalise,
            "precision": self.precision,
            "batch_size": self.batch_size,
            "save_weights": self.save_weights,
            "sha256": self._loaded_digest,
        }

    def fingerprint(self) -> str:
        """SHA-256 of weights, vocabulary and settings, not of the model's name or place."""
        settings = {
            key: value
            for key, value in self._config().items()
            if key in ("pooling", "max_length", "normalise", "precision")
        }
        return digest([self.kind, settings, self._content_digest()])

    def _content_digest(self) -> str:
        vocabulary = digest(self._tokenizer.get_vocab())
        config = {
            key: value
            for key, value in self.model.config.to_dict().items()
            if key not in ("_name_or_path", "transformers_version") and is_plain(value)
        }
        return digest([state_digest(self.model), vocabulary, config])

    def _write(self, directory: Path) -> None:
        if self.save_weights == "copy":
            forget_last_call(self.tokenizer)
            with quiet_loading():
                self.model.save_pretrained(str(directory / MODEL_FOLDER))
                self._tokenizer.save_pretrained(str(directory / MODEL_FOLDER))
        elif state_digest(self.model) != self._loaded_digest:
            raise InputError(
                f"the weights of {self.name} were changed since they were loaded, so a reference "
                "to it would lose the change; set encoder.save_weights = 'copy'"
            )

    @classmethod
    def _read(cls, directory: Path, config: dict[str, Any]) -> Self:
        config = dict(config)
        expected, name = config.pop("sha256"), config.pop("model")
        copied = config["save_weights"] == "copy"
        encoder = cls(str(directory / MODEL_FOLDER) if copied else name, **config)
        encoder.name = name
        if not copied and encoder._loaded_digest != expected:
            raise ModelFormatError(
                f"{directory} refers to the model {name}, whose weights are others now; restore "
                "them, or train again"
            )
        return encoder


def is_plain(value: Any) -> bool:
    """Whether a value of a model's configuration is JSON-able."""
    try:
        digest(value)
    except (TypeError, ValueError):
        return False
    return True
