"""Encoders by what one writes after ``--encoder``, such as ``lsa:256`` or ``lsa+minilm``.

The classes are found by their kind (:func:`learned_index.encoding.encoder_class`); this module
says which kind and which arguments a description means.
"""

from __future__ import annotations

import difflib
import inspect
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, cast, get_args, get_type_hints

from learned_index.encoders.base import ENCODER_FILE, EncoderBase, load_encoder
from learned_index.encoders.concatenated import ConcatenatedEncoder
from learned_index.encoders.transformer.hub import MINILM, model_format, resolve_model
from learned_index.encoders.vector_files import is_vector_spec
from learned_index.encoding import encoder_class
from learned_index.errors import InputError

CHOICES = (
    "tfidf, lsa or lsa:DIM, bow or bow:DIM, minilm or minilm:TOKENS (texts are cut there; "
    "minilm:auto measures on the labelled texts how many tokens are enough), static "
    "(MiniLM's table of word pieces), student or student:TEXTS (the same taught by MiniLM on so "
    "many texts), the name or folder of a sentence-transformers or transformers model (st:NAME or "
    "hf:NAME to say which, hf:NAME:TOKENS to cut texts there), a file or folder of vectors (.npy, "
    ".npz, .safetensors; {split} stands for train, dev, test), the folder of a saved encoder, or "
    "several joined by +, e.g. lsa+minilm"
)
"""The grammar in words, for help texts and errors."""

_NUMBERS = {
    "lsa": ("dimension", "dim", 512),
    "bow": ("dimension", "dim", 512),
    "minilm": ("number of tokens", "max_length", 128),
    "student": ("number of texts", "teaching_texts", 4000),
}
"""What a number after the colon is, the argument that it fixes, and an example."""
_NAMES = ("tfidf", "static", *_NUMBERS)


class _Part(NamedTuple):
    """One part of a description.

    Attributes:
        source: Its class, or the folder of a saved encoder, which leaves nothing to choose.
        fixed: The arguments that the description fixes.
    """

    source: type[EncoderBase] | Path
    fixed: dict[str, Any]

    def options(self) -> set[str]:
        """Names of the constructor's arguments, those in a ``**TypedDict`` too."""
        if isinstance(self.source, Path):
            return set()
        names = set()
        for name, parameter in inspect.signature(self.source).parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                unpacked = get_type_hints(self.source.__init__)[name]
                names |= set(get_type_hints(get_args(unpacked)[0]))
            else:
                names.add(name)
        return names

    def build(self, options: dict[str, Any]) -> EncoderBase:
        """Make the encoder with those of the options that it has."""
        if isinstance(self.source, Path):
            return load_encoder(self.source)
        known = self.options()
        chosen = {name: value for name, value in options.items() if name in known}
        return self.source(**{**chosen, **self.fixed})


def parse_encoder(
    spec: str,
    *,
    seed: int | None = None,
    precision: Literal["auto", "float32", "bfloat16", "int8"] | None = None,
    **options: Any,
) -> EncoderBase:
    """Make an encoder from its short description.

    Args:
        spec: One of the :data:`CHOICES`.
        seed: Seed of the parts that draw random numbers; the others ignore it.
        precision: Of the parts that are neural networks; the others ignore it.
        **options: Parameters of the encoder's class (``dim``, ``max_length``, ``batch_size``,
            ``device`` …). With joined encoders each part takes those that it has;
            ``weights`` belongs to the whole.

    Returns:
        The encoder, not fitted.

    Raises:
        InputError: An unknown description, or an option that no part has.
        MissingExtraError: ``minilm`` is not installed.

    Example:
        >>> parse_encoder("lsa:64", seed=1).dim
        64
    """
    check_length(spec)
    names = _split(spec.strip())
    weights = options.pop("weights", None) if len(names) > 1 else None
    parts = [_part(name, spec) for name in names]  # all, before a model is loaded
    unknown = set(options).difference(*(part.options() for part in parts))
    if unknown:
        raise InputError(
            f"the encoder {spec!r} has no option {', '.join(sorted(unknown))}; see the parameters "
            "of its class"
        )
    general = {"seed": seed, "precision": precision}
    given = {name: value for name, value in general.items() if value is not None} | options
    encoders = [part.build(given) for part in parts]
    return encoders[0] if len(encoders) == 1 else ConcatenatedEncoder(encoders, weights=weights)


def parse_feature_encoder(spec: str, *, seed: int) -> EncoderBase:
    """Make an encoder of sparse features from its short description.

    Args:
        spec: ``features`` (as they are), ``lsa`` or ``lsa:DIM`` (an SVD of them), or a file or
            folder of vectors; kinds of encoders stand for themselves.
        seed: Seed of the SVD.

    Raises:
        InputError: An unknown description, or an encoder that reads texts.
    """
    check_length(spec)
    name, colon, argument = spec.partition(":")
    dim = number_after_colon(argument)
    if spec in ("features", "dense-feature-rows"):
        part = _of_kind("dense-feature-rows")
    elif name in ("lsa", "feature-svd") and (dim is not None or not colon):
        part = _of_kind("feature-svd", **({} if dim is None else {"dim": dim}))
    elif is_vector_spec(spec):
        part = _of_kind("precomputed", path=spec)
    else:
        raise InputError(
            f"the data have sparse features and no texts, which --encoder {spec} cannot read; use "
            "features (as they are), lsa:DIM (an SVD of them) or a file of vectors"
        )
    return part.build({"seed": seed})


def _split(spec: str) -> list[str]:
    """Split at ``+``, except where the whole is an existing path that has one in its name."""
    model, _ = _model_and_length(spec.removeprefix("st:").removeprefix("hf:"))
    if "+" not in spec or Path(model).expanduser().exists():
        return [spec]
    return [part.strip() for part in spec.split("+")]


def _model_and_length(text: str) -> tuple[str, int | None]:
    """Part the name of a model from the number of tokens behind it, if there is one."""
    model, _, tokens = text.rpartition(":")
    length = number_after_colon(tokens) if model else None
    if length is None or Path(text).expanduser().exists():
        return text, None
    return model, length


def check_length(spec: str) -> None:
    """Refuse a description that no file system takes for a name.

    Raises:
        InputError: More than 4000 bytes, or a part between slashes of more than 255.
    """
    raw = spec.encode("utf-8", "surrogatepass")
    if len(raw) > 4000 or max(map(len, raw.split(b"/"))) > 255:
        raise InputError(f"encoder {spec[:40]!r}... is too long for a name. Expected {CHOICES}")


def number_after_colon(argument: str) -> int | None:
    """Return the number in a description such as ``lsa:512``; None where it is none above 0."""
    # ASCII: isdigit() is true for digits such as ² too, which int() refuses.
    written = argument.isascii() and argument.isdigit() and len(argument) < 10
    return int(argument) or None if written else None


def _refuse(part: str, spec: str) -> NoReturn:
    within = f" in {spec!r}" if part != spec else ""
    guess = f" Did you mean {_similar(part)!r}?" if _similar(part) else ""
    raise InputError(f"unknown encoder {part!r}{within}.{guess} Expected {CHOICES}")


def _similar(part: str) -> str:
    name, colon, argument = part.partition(":")
    close = difflib.get_close_matches(name, _NAMES, n=1, cutoff=0.7)
    return f"{close[0]}{colon}{argument}" if close else ""


def _of_kind(kind: str, **fixed: Any) -> _Part:
    return _Part(cast("type[EncoderBase]", encoder_class(kind)), fixed)


def _part(part: str, spec: str) -> _Part:
    """Tell what one part of a description means."""
    name, colon, argument = part.partition(":")
    if name in _NAMES:
        return _named(part, name, number_after_colon(argument) if colon else None, bool(colon))
    if name in ("st", "hf") and argument:
        kind = "sentence-transformer" if name == "st" else "transformer"
        model, length = _model_and_length(argument)
        return _of_kind(kind, model=model, **({} if length is None else {"max_length": length}))
    if not part or part == "+":
        _refuse(part, spec)
    if is_vector_spec(part):
        return _of_kind("precomputed", path=part)
    path = Path(part).expanduser()
    if (path / ENCODER_FILE).is_file():
        return _Part(path, {})
    if path.is_file():
        raise InputError(f"the file {part} is no file of vectors. Expected {CHOICES}")
    if path.is_dir():
        kind_of_model = model_format(path)
        if kind_of_model is None:
            raise InputError(
                f"the folder {part} holds neither a model (modules.json, config.json) nor vectors "
                "(train.npy, test.npy). Expected " + CHOICES
            )
        return _of_kind(kind_of_model, model=part)
    # A misspelt word is not looked for on the hub, where a model might have that name.
    if _similar(part) or "+" in part or any(character.isspace() for character in part):
        _refuse(part, spec)
    try:
        folder = resolve_model(part)
    except InputError as error:
        raise InputError(f"unknown encoder {part!r}: {error}. Expected {CHOICES}") from error
    return _of_kind(model_format(folder) or "transformer", model=part)


def _named(part: str, name: str, number: int | None, has_colon: bool) -> _Part:
    """Return the part for ``lsa``, ``lsa:256``, ``minilm:128`` and their like."""
    if has_colon and name not in _NUMBERS:
        raise InputError(f"encoder {part!r}: {name} takes no number; write {name}")
    fixed: dict[str, Any] = {}
    if part == f"{MINILM}:auto":
        fixed["max_length"] = "auto"
    elif has_colon:
        expected, argument, example = _NUMBERS[name]
        if number is None:
            raise InputError(
                f"encoder {part!r}: expected a {expected} after the colon, such as {name}:{example}"
            )
        fixed[argument] = number
    if name == MINILM:
        return _of_kind("sentence-transformer", model=MINILM, **fixed)
    return _of_kind(name, **fixed)
