"""Find the documented public objects of installed packages.

Only the modules listed here are imported: none that opens a window, prints or changes settings.
An object reached by several public names is one object under its best name.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import io
import itertools
import logging
import pkgutil
import re
import sys
import types
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

logger = logging.getLogger(__name__)

Kind: TypeAlias = Literal["module", "class", "function", "method"]

STDLIB = "python"
"""Name under which the standard library is listed in :data:`PACKAGES`."""

# The stars stand for the public direct submodules, found without importing them.
PACKAGES: dict[str, str] = {
    "numpy": "numpy numpy.linalg numpy.fft numpy.random numpy.polynomial numpy.polynomial.* "
    "numpy.ma numpy.ma.extras numpy.char numpy.strings numpy.rec numpy.testing numpy.lib "
    "numpy.lib.* numpy.emath numpy.exceptions numpy.typing numpy.dtypes numpy.ctypeslib",
    "scipy": "scipy scipy.* scipy.cluster.* scipy.fft scipy.linalg.interpolative scipy.linalg.blas "
    "scipy.linalg.lapack scipy.optimize.elementwise scipy.signal.windows scipy.sparse.linalg "
    "scipy.sparse.csgraph scipy.spatial.distance scipy.spatial.transform scipy.stats.* "
    "scipy.integrate.* scipy.io.*",
    "sklearn": "sklearn sklearn.* sklearn.cluster sklearn.feature_extraction.text "
    "sklearn.feature_extraction.image sklearn.gaussian_process.kernels "
    "sklearn.metrics.pairwise sklearn.metrics.cluster sklearn.utils.*",
    "torch": "torch torch.linalg torch.fft torch.special torch.nn torch.nn.functional "
    "torch.nn.init torch.nn.utils torch.nn.utils.rnn torch.nn.utils.prune "
    "torch.nn.utils.parametrize torch.nn.utils.parametrizations torch.nn.utils.stateless "
    "torch.nn.parallel torch.nn.attention torch.nn.parameter torch.optim torch.optim.lr_scheduler "
    "torch.optim.swa_utils torch.autograd torch.autograd.functional torch.autograd.profiler "
    "torch.autograd.graph torch.autograd.forward_ad torch.autograd.anomaly_mode "
    "torch.utils.data torch.utils.checkpoint torch.utils.dlpack torch.utils.cpp_extension "
    "torch.utils.benchmark torch.utils.hooks torch.func torch.cuda torch.cuda.amp "
    "torch.cuda.memory torch.cpu torch.random torch.jit torch.sparse torch.distributions "
    "torch.distributions.* torch.profiler torch.hub torch.amp torch.masked torch.nested "
    "torch.signal.windows torch.overrides torch.fx torch.export torch.package torch.library "
    "torch.compiler torch.serialization torch.futures torch.multiprocessing torch.monitor "
    "torch.ao.quantization torch.backends torch.mps torch.storage torch.testing torch.types",
    "matplotlib": "matplotlib matplotlib.pyplot matplotlib.figure matplotlib.axes matplotlib.axis "
    "matplotlib.artist matplotlib.animation matplotlib.backend_bases matplotlib.cm "
    "matplotlib.collections matplotlib.colorbar matplotlib.colors matplotlib.contour "
    "matplotlib.container matplotlib.dates matplotlib.font_manager matplotlib.gridspec "
    "matplotlib.hatch matplotlib.image matplotlib.layout_engine matplotlib.legend "
    "matplotlib.legend_handler matplotlib.lines matplotlib.markers matplotlib.mathtext "
    "matplotlib.mlab matplotlib.offsetbox matplotlib.patches matplotlib.path "
    "matplotlib.patheffects matplotlib.projections matplotlib.projections.polar "
    "matplotlib.quiver matplotlib.rcsetup matplotlib.sankey matplotlib.scale matplotlib.spines "
    "matplotlib.stackplot matplotlib.streamplot matplotlib.style matplotlib.table "
    "matplotlib.text matplotlib.textpath matplotlib.ticker matplotlib.transforms matplotlib.tri "
    "matplotlib.units matplotlib.widgets matplotlib.category matplotlib.cbook",
    "networkx": "networkx networkx.* networkx.algorithms.* networkx.algorithms.approximation.* "
    "networkx.generators.* networkx.drawing.* networkx.readwrite.* networkx.linalg.* "
    "networkx.utils.*",
    "sympy": "sympy sympy.calculus sympy.codegen sympy.combinatorics sympy.concrete sympy.core "
    "sympy.crypto sympy.diffgeom sympy.discrete sympy.geometry sympy.holonomic sympy.integrals "
    "sympy.logic sympy.matrices sympy.ntheory sympy.physics.control sympy.physics.mechanics "
    "sympy.physics.optics sympy.physics.quantum sympy.physics.units sympy.physics.vector "
    "sympy.plotting sympy.polys sympy.printing sympy.series sympy.sets sympy.simplify "
    "sympy.solvers sympy.stats sympy.tensor sympy.unify sympy.utilities sympy.vector",
    "numba": "numba numba.typed numba.extending numba.types numba.experimental",
    "faiss": "faiss faiss.contrib.* ",
    "joblib": "joblib joblib.memory joblib.parallel joblib.hashing",
    "PIL": "PIL.Image PIL.ImageChops PIL.ImageColor PIL.ImageDraw PIL.ImageEnhance PIL.ImageFile "
    "PIL.ImageFilter PIL.ImageFont PIL.ImageMath PIL.ImageMorph PIL.ImageOps PIL.ImagePalette "
    "PIL.ImagePath PIL.ImageSequence PIL.ImageStat PIL.ImageTransform",
    "safetensors": "safetensors safetensors.numpy safetensors.torch",
    "threadpoolctl": "threadpoolctl",
    "click": "click",
    "rich": "rich rich.align rich.box rich.color rich.columns rich.console rich.layout rich.live "
    "rich.logging rich.markdown rich.markup rich.padding rich.panel rich.pretty rich.progress "
    "rich.prompt rich.rule rich.spinner rich.status rich.style rich.syntax rich.table rich.text "
    "rich.theme rich.traceback rich.tree",
    STDLIB: "abc argparse array ast asyncio atexit base64 bdb binascii bisect builtins bz2 "
    "calendar cmath cmd code codecs codeop collections collections.abc colorsys compileall "
    "concurrent.futures configparser contextlib contextvars copy copyreg csv ctypes ctypes.util "
    "dataclasses datetime decimal difflib dis doctest email email.charset email.encoders "
    "email.errors email.header email.headerregistry email.message email.mime.text email.parser "
    "email.policy email.utils enum errno faulthandler filecmp fileinput fnmatch fractions ftplib "
    "functools gc getpass gettext glob graphlib gzip hashlib heapq hmac html html.entities "
    "html.parser http http.client http.cookiejar http.cookies http.server imaplib importlib "
    "importlib.abc importlib.machinery importlib.metadata importlib.resources importlib.util "
    "inspect io ipaddress itertools json keyword linecache locale logging logging.config "
    "logging.handlers lzma mailbox marshal math mimetypes mmap modulefinder multiprocessing "
    "multiprocessing.connection multiprocessing.managers multiprocessing.pool "
    "multiprocessing.shared_memory netrc numbers operator optparse os os.path pathlib pdb pickle "
    "pickletools pkgutil platform plistlib poplib posixpath pprint profile pstats py_compile "
    "pyclbr pydoc queue quopri random re reprlib runpy sched secrets select selectors shelve shlex "
    "shutil signal site smtplib socket socketserver sqlite3 ssl stat statistics string stringprep "
    "struct subprocess symtable sys sysconfig tabnanny tarfile tempfile textwrap threading time "
    "timeit token tokenize trace traceback tracemalloc types typing unicodedata unittest "
    "unittest.mock urllib.error urllib.parse urllib.request urllib.robotparser uuid venv warnings "
    "wave weakref webbrowser wsgiref.handlers wsgiref.headers wsgiref.simple_server wsgiref.util "
    "xml.dom xml.dom.minidom xml.dom.pulldom xml.etree.ElementTree xml.sax xml.sax.handler "
    "xml.sax.saxutils xml.sax.xmlreader xmlrpc.client xmlrpc.server zipapp zipfile zipimport zlib "
    "zoneinfo",
}
"""Public modules whose documentation is read, by package."""

DISTRIBUTIONS = {"sklearn": "scikit-learn", "faiss": "faiss-cpu", "PIL": "pillow"}
_SKIPPED_SUBMODULES = frozenset(
    {"tests", "testing", "conftest", "setup", "benchmarks", "externals", "diagnose", "test"}
)


_SKIPPED_CLASSES = re.compile(r"torch\.[A-Z][A-Za-z0-9]+(?:Tensor|Storage)")
"""Legacy classes that repeat every method of ``torch.Tensor``."""


@dataclass
class ApiObject:
    """One documented public object.

    Attributes:
        name: Its canonical public name, e.g. ``"numpy.linalg.eigh"``.
        kind: What it is.
        doc: Its own docstring.
        owner: Canonical name of the class of a method, else None.
        module: The public module it belongs to.
        names: All public names it was reached by.
    """

    name: str
    kind: Kind
    doc: str
    owner: str | None
    module: str
    names: list[str] = field(default_factory=list)


def package_versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the version of each package of :data:`PACKAGES` that is installed."""
    versions = {}
    for package in packages:
        if package == STDLIB:
            versions[package] = ".".join(map(str, sys.version_info[:3]))
            continue
        if importlib.util.find_spec(package) is None:
            continue
        for name in (DISTRIBUTIONS.get(package, package), package):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                versions[package] = importlib.metadata.version(name)
                break
        else:
            versions[package] = "unknown"
    return versions


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings and output of foreign modules, and undo what they do to logging."""
    previous = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(previous)


def _module_names(package: str) -> list[str]:
    names: dict[str, None] = {}
    for pattern in PACKAGES[package].split():
        if not pattern.endswith(".*"):
            names[pattern] = None
            continue
        parent = pattern.removesuffix(".*")
        module = _import(parent)
        for info in sorted(
            pkgutil.iter_modules(getattr(module, "__path__", [])), key=lambda m: m.name
        ):
            if not info.name.startswith("_") and info.name not in _SKIPPED_SUBMODULES:
                names[f"{parent}.{info.name}"] = None
    return list(names)


def _import(name: str) -> types.ModuleType | None:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a foreign module may raise anything at import
        logger.debug("%s left out: %s", name, error)
        return None


def collect_objects(packages: Sequence[str]) -> list[ApiObject]:
    """Collect the documented public objects of installed packages, sorted by name.

    Args:
        packages: Keys of :data:`PACKAGES`; those not installed are left out.
    """
    with _quiet():
        found: list[ApiObject] = []
        for package in packages:
            if package == STDLIB or importlib.util.find_spec(package) is not None:
                found.extend(_Walk(package).objects())
    return sorted(found, key=lambda item: item.name)


class _Walk:
    """Walks the listed modules of one package."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.modules = {
            name: module for name in _module_names(package) if (module := _import(name)) is not None
        }
        # Objects are kept alive while their id() is a key.
        self.members: dict[int, tuple[Any, list[str]]] = {}

    def objects(self) -> Iterator[ApiObject]:
        """Yield modules, then classes and functions, then the classes' methods."""
        for name, module in self.modules.items():
            if module.__doc__:
                yield ApiObject(name, "module", module.__doc__, None, name, [name])
        for name, module in self.modules.items():
            for attribute in _public_names(module):
                member = _get(module, attribute)
                if self._belongs(member, explicit=hasattr(module, "__all__")):
                    self.members.setdefault(id(member), (member, []))[1].append(
                        f"{name}.{attribute}"
                    )
        classes: list[tuple[str, str, type]] = []
        for member, names in self.members.values():
            name = min(names, key=lambda n, m=member: _preference(n, m))  # type: ignore[misc]
            module_name = self._module_of(name, member)
            if isinstance(member, type):
                if _SKIPPED_CLASSES.fullmatch(name):
                    continue
                classes.append((name, module_name, member))
            doc = _own_doc(member)
            if doc:
                kind: Kind = "class" if isinstance(member, type) else "function"
                yield ApiObject(name, kind, doc, None, module_name, names)
        yield from self._methods(sorted(classes, key=lambda item: item[0]))

    def _methods(self, classes: list[tuple[str, str, type]]) -> Iterator[ApiObject]:
        """Yield the methods and properties that each class defines itself.

        Those of a private base class count for the one public class that stands on it.
        """
        public = {cls for _, _, cls in classes}
        adopters: dict[type, set[type]] = defaultdict(set)
        for cls in public:
            for base in itertools.takewhile(lambda b: b not in public, cls.__mro__[1:]):
                adopters[base].add(cls)
        seen: set[int] = set()
        for class_name, module_name, cls in classes:
            bases = [base for base in cls.__mro__[1:] if adopters.get(base) == {cls}]
            members: dict[str, Any] = {}
            for base in (cls, *bases):
                if base is not object:
                    members = {**vars(base), **members}
            for attribute, member in sorted(members.items()):
                if attribute.startswith("_") or isinstance(member, type):
                    continue
                function = getattr(member, "__func__", member)
                doc = getattr(function, "__doc__", None)
                documented = callable(function) or inspect.isdatadescriptor(function)
                if not documented or not isinstance(doc, str) or id(function) in seen:
                    continue
                if doc == getattr(type(function), "__doc__", None):
                    continue
                seen.add(id(function))
                name = f"{class_name}.{attribute}"
                yield ApiObject(name, "method", doc, class_name, module_name, [name])

    def _belongs(self, member: Any, *, explicit: bool) -> bool:
        if isinstance(member, types.ModuleType) or member is None:
            return False
        if not callable(member) and _own_doc(member) is None:
            return False
        module = getattr(member, "__module__", None)
        if not isinstance(module, str):
            return explicit
        root = module.partition(".")[0]
        if self.package == STDLIB:
            return root in sys.stdlib_module_names
        return root == self.package or (explicit and root.startswith("_"))

    def _module_of(self, name: str, member: Any) -> str:
        """The module a user would name; for packages with one flat namespace, the defining one."""
        parent = name.rpartition(".")[0]
        if "." in parent or self.package == STDLIB:
            return parent
        defined = str(getattr(member, "__module__", None) or parent)
        public: list[str] = []
        for part in defined.split("."):
            if part.startswith("_"):
                break
            public.append(part)
        known = (".".join(public[:depth]) for depth in range(len(public), 0, -1))
        return next((name for name in known if name in self.modules), parent)


def _public_names(module: types.ModuleType) -> list[str]:
    listed = getattr(module, "__all__", None)
    names = listed if isinstance(listed, (list, tuple)) else dir(module)
    return sorted({name for name in names if isinstance(name, str) and not name.startswith("_")})


def _get(module: types.ModuleType, attribute: str) -> Any:
    try:
        return getattr(module, attribute)
    except Exception as error:  # lazy attributes may raise anything
        logger.debug("%s.%s left out: %s", module.__name__, attribute, error)
        return None


def _own_doc(member: Any) -> str | None:
    """The docstring that belongs to the object itself, not to its class or base class."""
    is_class = isinstance(member, type)
    doc = vars(member).get("__doc__") if is_class else getattr(member, "__doc__", None)
    if not is_class and not inspect.isroutine(member) and doc == type(member).__doc__:
        return None
    return doc if isinstance(doc, str) and doc.strip() else None


def _preference(name: str, member: Any) -> tuple[bool, int, bool, int, str]:
    """Sort key of an object's public names, the best first.

    Its real name before an alias, a short path before a long one, and of equally long ones the
    module that defines it (a plotting module imports classes that are not its own).
    """
    module, _, leaf = name.rpartition(".")
    alias = leaf != getattr(member, "__name__", leaf)
    foreign = module != getattr(member, "__module__", None)
    return alias, name.count("."), foreign, len(name), name
