"""The site: what its hooks make of the repository's pages, and that a broken link fails."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from document_cases import ROOT

pytest.importorskip("mkdocs", reason="needs mkdocs (the extra docs)")
pytest.importorskip("griffe", reason="needs mkdocstrings (the extra docs)")
sys.path.insert(0, str(ROOT / "docs"))
import site_hooks
from griffe_roles import as_markdown


@pytest.mark.parametrize(("link", "page", "target", "expected"), [
    ("docs/cli.md", "README.md", "index.md", "cli.md"),
    ("docs/figures/idea.png", "README.md", "index.md", "figures/idea.png"),
    ("CHANGELOG.md", "README.md", "index.md", "changelog.md"),
    ("../CONTRIBUTING.md", "docs/architecture.md", "architecture.md", "contributing.md"),
    ("../docs/howto/labels.md", "examples/a.ipynb", "examples/a.md", "../howto/labels.md"),
    ("../../examples/a.ipynb", "docs/howto/x.md", "howto/x.md", "../examples/a.md"),
    ("../cli.md", "docs/howto/x.md", "howto/x.md", "../cli.md"),
    ("https://arxiv.org/abs/1", "README.md", "index.md", "https://arxiv.org/abs/1"),
])  # fmt: skip
def test_links_of_the_repository_lead_to_pages(link, page, target, expected) -> None:
    assert site_hooks.moved(link, page=page, target=target) == expected


def test_anchors_stay_and_code_is_no_link() -> None:
    text = "[a](docs/cli.md#li-train) [b](LICENSE) [c](examples/train.py) [d](#here)"
    found = site_hooks.with_moved_links(text, page="README.md", target="index.md")
    assert found == "[a](cli.md#li-train) b c [d](#here)"


def test_roles_become_links_and_double_quotes_code() -> None:
    found = as_markdown("See :meth:`fit` and :class:`~learned_index.a.B`, ``x_BD``.", "m.C")
    assert 'identifier="m.C.fit" optional><code>fit</code>' in found
    assert 'identifier="learned_index.a.B" optional><code>B</code>' in found
    assert found.endswith("`x_BD`.")


@pytest.mark.parametrize(("output", "loads"), [
    ('<script src="https://unpkg.com/x.js"></script>', True),
    ('<link rel="stylesheet" href="https://fonts.example/css">', True),
    ('<img alt="a" src=//cdn.example/a.png>', True),
    ('<a href="https://example.org">x</a><script src="assets/a.js"></script>', False),
    ('<link rel="canonical" href="https://example.org/">', False),
])  # fmt: skip
def test_what_comes_from_another_host_is_found(output, loads, tmp_path, caplog) -> None:
    (tmp_path / "page.html").write_text(output, encoding="utf-8")
    site_hooks.on_post_build(SimpleNamespace(site_dir=str(tmp_path)))
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == loads and all("page.html loads" in line for line in warnings)
    assert site_hooks.log.name.startswith("mkdocs."), "else --strict would not count it"


def test_every_page_of_docs_is_in_the_navigation() -> None:
    """Or it would be on the site, and nobody would find it."""
    listed = set(re.findall(r"^ +- .*?([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    pages |= {f"examples/{path.stem}.md" for path in (ROOT / "examples").glob("*.ipynb")}
    assert listed == pages | {*site_hooks.PAGES.values()}


def test_the_reference_shows_names_that_exist() -> None:
    from importlib import import_module

    from learned_index.errors import MissingExtraError

    shown = []
    for page in (ROOT / "docs" / "api").glob("*.md"):
        shown += re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.M)
    for name in shown:
        module, _, last = name.rpartition(".")
        try:
            assert name == "learned_index.errors" or hasattr(import_module(module), last), name
        except MissingExtraError:  # an adapter whose framework is not here: its file has the class
            source = ROOT / f"{module.replace('.', '/')}.py"
            assert re.search(rf"^\s*class {last}\b", source.read_text(encoding="utf-8"), re.M), name
    import learned_index

    public = {name for name in learned_index.__all__ if name != "__version__"}
    assert public <= {name.rpartition(".")[2] for name in shown}


def test_broken_links_fail(tmp_path: Path) -> None:
    """With the validation of mkdocs.yml, on a site of one page."""
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    validation = config[config.index("\nvalidation:") : config.index("\nnav:")]
    (tmp_path / "mkdocs.yml").write_text(f"site_name: x\n{validation}", encoding="utf-8")
    (tmp_path / "docs").mkdir()
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    links = "[a](#home) [b](https://example.org)", "[a](no.md) [b](#no) ![c](no.png) [d](/no.md)"
    for text, n_broken in zip(links, (0, 4), strict=True):
        (tmp_path / "docs" / "index.md").write_text(f"# Home\n\n{text}", encoding="utf-8")
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == (n_broken > 0), done.stderr
        assert done.stderr.count("WARNING") == n_broken, done.stderr
