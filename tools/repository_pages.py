"""A hook of MkDocs: what the pages link to outside of docs/ becomes part of the site.

The README is the site's first page. A Markdown file of the repository becomes a page, an image or a JSON document is
copied, and any other file is shown as text. Links are written for a reader of the repository and rewritten here.
"""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
FIRST = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
COPIED = {".png", ".svg", ".json"}
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file that a page links to, and what those link to."""
    pages = [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    waiting, seen = [*FIRST, *pages], set(pages)
    while waiting:
        name = waiting.pop()
        if name not in seen and not name.startswith("docs/"):
            files.append(_file(name, config))
        seen.add(name)
        waiting += [target for target in _targets(name) if target not in seen]
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite the links of a page that stands in docs/."""
    return markdown if page.file.generated_by else _relinked(markdown, f"docs/{page.file.src_uri}")


def _file(name: str, config: MkDocsConfig) -> File:
    if Path(name).suffix in COPIED:
        return File.generated(config, _place(name), abs_src_path=str(ROOT / name))
    return File.generated(config, _place(name), content=_relinked(_markdown(name), name))


def _place(name: str) -> str:
    """Say where a file of the repository stands in the site's sources."""
    if name == "README.md":
        return "index.md"
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    if (ROOT / name).is_dir():
        return f"{name}/index.md"
    shown = Path(name).suffix in {*COPIED, ".md"}
    return name.removeprefix(".") + ("" if shown else ".md")  # MkDocs leaves out what begins with a dot


def _markdown(name: str) -> str:
    path = ROOT / name
    if path.is_dir():
        return f"# {name}\n\n" + "".join(_entries(path))
    if path.suffix == ".md":
        return path.read_text()
    language = {".py": "python", "": "text"}.get(path.suffix, "text")
    return f"---\nsearch: {{exclude: true}}\n---\n# {name}\n\n````{language}\n{path.read_text()}````\n"


def _entries(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.py")):
        first = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        yield f"- [{path.name}](../{folder.name}/{path.name}): {first}\n"


def _targets(name: str) -> list[str]:
    """List the files and folders of the repository that one of its pages links to."""
    if Path(name).suffix != ".md" and not (ROOT / name).is_dir():
        return []
    found = (_resolved(link, name) for link in LINK.findall(_markdown(name)))
    return [target for target in found if target]


def _resolved(link: str, name: str) -> str:
    """Return the path of a link's target in the repository, "" where there is none."""
    base = ROOT / name if (ROOT / name).is_dir() else (ROOT / name).parent
    target = (base / link).resolve()
    return str(target.relative_to(ROOT)) if target.exists() and target.is_relative_to(ROOT) else ""


def _relinked(markdown: str, name: str) -> str:
    def rewrite(match: re.Match[str]) -> str:
        target = _resolved(match[1], name)
        return os.path.relpath(_place(target), Path(_place(name)).parent) if target else match[1]

    return LINK.sub(rewrite, markdown)
