"""Names of the methods, and the text in which a user asks for them.

A list is separated by commas. Build arguments follow a colon or stand in parentheses: a FAISS
factory string, which has commas of its own, and options as ``name=value``::

    hnsw,tree                      two methods with their defaults
    ivf:IVF512,Flat,exact          two methods: "ivf:IVF512,Flat" and "exact"
    hnsw(HNSW16),ivf(IVF512,SQ8)   the same, in parentheses (which a shell wants quoted)
    hnswlib:links=48,metric=inner-product,lorann:n_clusters=512
    engine:float16                 the learned index's engine in another precision

After a colon the text goes on over commas until the next method begins. No guess is made: every
method begins with a lower-case letter and holds no ``=`` before its colon, every part of a factory
string begins with an upper-case one.

Another package adds a method with :func:`register`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from learned_index.baselines.base import Baseline, Inputs
from learned_index.errors import InputError

_KNOWN: dict[str, type[Baseline]] = {}
_TEXT_OPTIONS: dict[str, str] = {}
_SPEC = re.compile(r"(?P<method>[a-z][a-z0-9_-]*)(?::(?P<colon>.*)|\((?P<parentheses>.*)\))?")
_OPTION = re.compile(r"[a-z][a-z0-9_]*=")

DEFAULT_BASELINES = "engine,exact,exact-int8,hnsw,ivf,tree,knn"
"""What ``li compare`` measures unless told otherwise: everything but the training of one-vs-all."""


@dataclass(frozen=True, kw_only=True)
class BaselineSpec:
    """A method asked for, not yet made: small enough to hand to another process.

    Attributes:
        name: As the user wrote it; names the rows of the report.
        adapter: Class of the method.
        options: Build arguments, keyword arguments of the class.
    """

    name: str
    adapter: type[Baseline]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """Name of the method without its factory string."""
        return self.adapter.method

    @property
    def inputs(self) -> Inputs:
        """What the method's ``build`` receives."""
        return self.adapter.inputs

    def create(self, **overrides: Any) -> Baseline:
        """Make the adapter; ``overrides`` win over the options."""
        return self.adapter(name=self.name, **{**self.options, **overrides})

    def with_options(self, **options: Any) -> BaselineSpec:
        """Return a copy with more build arguments."""
        return BaselineSpec(
            name=self.name, adapter=self.adapter, options={**self.options, **options}
        )


def register(adapter: type[Baseline], *, text_option: str | None = None) -> type[Baseline]:
    """Make a method known to :func:`parse_baselines`.

    Args:
        adapter: Class with ``method`` and ``inputs``. It must be importable by name: each method
            is measured in a process of its own.
        text_option: The build argument that a text after the colon without ``=`` is given to.

    Raises:
        InputError: The name is taken, or could not be told from a factory string.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", adapter.method):
        raise InputError(
            f"a method's name is lower-case letters, digits, - and _, got {adapter.method!r}"
        )
    if _KNOWN.get(adapter.method, adapter) is not adapter:
        raise InputError(f"the method {adapter.method!r} is registered already")
    _KNOWN[adapter.method] = adapter
    if text_option is not None:
        _TEXT_OPTIONS[adapter.method] = text_option
    return adapter


def known_methods() -> list[str]:
    """Return the names of all methods."""
    return list(_KNOWN)


def parse_baselines(text: str | Iterable[str]) -> list[BaselineSpec]:
    """Parse the methods that a user asks for.

    Args:
        text: A list as described in this module, or several of them.

    Returns:
        One specification for each method, in the order written.

    Raises:
        InputError: A name is unknown or appears twice, parentheses do not match, or a method that
            takes no factory string got one.

    Example:
        >>> [spec.name for spec in parse_baselines("hnsw,ivf:IVF512,Flat,tree")]
        ['hnsw', 'ivf:IVF512,Flat', 'tree']
    """
    lists = [text] if isinstance(text, str) else list(text)
    specs = [_parse_one(part) for one in lists for part in _split(one)]
    if not specs:
        raise InputError(f"no method is named; known are {', '.join(_KNOWN)}")
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"the method {name!r} is named twice; each row needs its own name")
    return specs


def _split(text: str) -> list[str]:
    """Split at the commas that stand outside parentheses and before a new method."""
    parts: list[str] = []
    depth = 0
    current = ""
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            raise InputError(f"a parenthesis is closed but not opened in {text!r}")
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    if depth:
        raise InputError(f"a parenthesis is opened but not closed in {text!r}")
    parts.append(current)
    methods: list[str] = []
    for part in (part.strip() for part in parts):
        if not part:
            raise InputError(f"there is an empty name between commas in {text!r}")
        is_option = _OPTION.match(part) is not None
        if part[0].islower() and not is_option:
            methods.append(part)
        elif methods and ":" in methods[-1]:
            methods[-1] += f",{part}"
        else:
            raise InputError(
                f"{part!r} is no method; known are {', '.join(_KNOWN)}; a factory string or an "
                "option follows its method and a colon, e.g. ivf:IVF512,Flat or hnswlib:links=48"
            )
    return methods


def _parse_one(text: str) -> BaselineSpec:
    match = _SPEC.fullmatch(text)
    method = match["method"] if match else text
    if match is None or method not in _KNOWN:
        raise InputError(f"unknown method {method!r}; known are {', '.join(_KNOWN)}")
    given = match["colon"] if match["colon"] is not None else match["parentheses"]
    if given is None:
        return BaselineSpec(name=text, adapter=_KNOWN[method])
    if not given.strip():
        raise InputError(f"{text!r} names no factory string; leave out the colon for the default")
    parts = [part.strip() for part in given.split(",")]
    options = dict(_option(method, part) for part in parts if _OPTION.match(part))
    free = ",".join(part for part in parts if not _OPTION.match(part))
    if free and method not in _TEXT_OPTIONS:
        takers = ", ".join(sorted(_TEXT_OPTIONS))
        raise InputError(f"{method} takes no factory string, got {text!r}; those that do: {takers}")
    if free:
        options[_TEXT_OPTIONS[method]] = free
    spec = BaselineSpec(name=text, adapter=_KNOWN[method], options=options)
    spec.create()  # refuses a factory string of another method now, not after an hour
    return spec


def _option(method: str, part: str) -> tuple[str, Any]:
    """Read ``name=value``, a build argument of the method.

    Raises:
        InputError: The method has no such argument, or the value is of another type.
    """
    name, _, text = part.partition("=")
    known = {
        key: parameter
        for key, parameter in inspect.signature(_KNOWN[method].__init__).parameters.items()
        if key not in ("self", "name", _TEXT_OPTIONS.get(method))
    }
    if name not in known:
        names = ", ".join(known) or "none"
        raise InputError(f"{method} has no option {name!r}; it has: {names}")
    default = known[name].default
    value: Any = text
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        break
    kinds: Any = (int, float) if isinstance(default, float) else type(default)
    if default is not None and not isinstance(value, kinds):
        raise InputError(
            f"the option {name} of {method} is {text!r}, expected a value such as {default!r}"
        )
    return name, value
