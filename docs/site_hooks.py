"""What mkdocs does besides: pages that lie elsewhere in the repository, and no other host.

README.md becomes the first page, CHANGELOG.md, CONTRIBUTING.md and the notebooks of examples/
become pages of their own; what is a link in the repository is one on the site. A page that would
load a script, a style, a font or a picture from another host ends the build.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
FIRST_SCREEN_ENDS = "\n## Try it\n"
"""The rest of README.md is for those who read the repository: the site has pages for it."""

LINK = re.compile(r"(?<=\]\()([^)\s#]+)((?:#[^)\s]*)?)(?=\))")
LOADED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\ssrc=[\"']?(?:https?:)?//[^\"'\s>]+"
    r"|<link\b(?=[^>]*\srel=[\"']?(?:stylesheet|preload|preconnect|icon))[^>]*\shref=[\"']?(?:https?:)?//[^\"'\s>]+"
)
log = logging.getLogger("mkdocs.hooks.site")


def notebook_as_markdown(path: Path) -> str:
    """Turn a notebook into Markdown: cells in their order, printed output below its cell."""
    parts = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code" and cell.source.strip():
            parts.append(f"```python\n{cell.source}\n```")
            shown = "".join(
                output.get("text") or output.get("data", {}).get("text/plain", "")
                for output in cell.outputs
            )
            if shown.strip():
                parts.append(f"```text\n{shown.rstrip()}\n```")
    note = f"This page is the notebook `{path.relative_to(ROOT).as_posix()}`; the tests run it."
    return "\n\n".join([*parts, f"*{note}*"]) + "\n"


def moved(link: str, *, page: str, target: str) -> str:
    """Find where a relative link of the repository leads on the site.

    Args:
        link: As written, without its anchor.
        page: File with the link, from the root of the repository.
        target: The page that it becomes, from the root of the site.

    Returns:
        The link from the page; as it was where the site has no page for it.
    """
    if "://" in link or link.startswith("mailto:"):
        return link
    file = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    if file in PAGES:
        place = PAGES[file]
    elif file.startswith("docs/"):
        place = file.removeprefix("docs/")
    elif file.startswith("examples/") and file.endswith(".ipynb"):
        place = file.removesuffix(".ipynb") + ".md"
    else:
        return link
    return posixpath.relpath(place, posixpath.dirname(target) or ".")


def with_moved_links(text: str, *, page: str, target: str) -> str:
    """Rewrite all relative links of a page; see :func:`moved`. Links to code become plain words."""

    def link(match: re.Match[str]) -> str:
        return moved(match[1], page=page, target=target) + match[2]

    text = LINK.sub(link, text)
    code = r"\[([^\]]+)\]\((?:\.\./)*(?:LICENSE|(?:examples|benchmarks|learned_index)/[^)]+\.py)\)"
    return re.sub(code, r"\1", text)


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the pages that lie outside docs/."""
    for page, target in PAGES.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        if page == "README.md":
            text, found, _rest = text.partition(FIRST_SCREEN_ENDS)
            if not found:
                log.warning(
                    "README.md has no line %r where its first screen ends", FIRST_SCREEN_ENDS
                )
            text = text.replace("(#when-to-use-something-else)", "(choosing.md)")
        text = with_moved_links(text, page=page, target=target)
        files.append(File.generated(config, target, content=text))
    for notebook in sorted((ROOT / "examples").glob("*.ipynb")):
        target = f"examples/{notebook.stem}.md"
        text = notebook_as_markdown(notebook)
        text = with_moved_links(text, page=f"examples/{notebook.name}", target=target)
        files.append(File.generated(config, target, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of docs/ that lead out of it, to pages made above."""
    uri = page.file.src_uri
    if page.file.generated_by is not None:
        return markdown
    return with_moved_links(markdown, page=f"docs/{uri}", target=uri)


def on_post_build(config: MkDocsConfig, **_: Any) -> None:
    """Refuse pages that are not whole without a network, whatever theme or plugin made them so."""
    site = Path(config.site_dir)
    for page in sorted(site.rglob("*.html")):
        for found in LOADED.findall(page.read_text(encoding="utf-8")):
            log.warning("%s loads from another host: %s", page.relative_to(site), found)
