"""The page's files: whole, small, without anything inline, and with no address of another place."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.good_model import good_router
from dom import parse
from glimp_core.views.notebook import TEMPLATES

PAGE = Path(__file__).parents[3] / "core" / "glimp_core" / "serve" / "page"
FILES = sorted(PAGE.iterdir())
MODULES = [file for file in FILES if file.suffix == ".js"]
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
ASIDE = {"report.css": TEMPLATES / "style.css"}
"""What the endpoint serves from elsewhere."""


def test_the_document_has_nothing_inline() -> None:
    """Scripts and styles are files of the page, and no attribute holds code."""
    dom = parse((PAGE / "index.html").read_text())
    assert [script.attributes["type"] for script in dom.find("script")] == ["module"]
    assert not any(script.text.strip() for script in dom.find("script"))
    assert not dom.find("style")
    assert [name for e in dom.all() for name in e.attributes if name == "style" or name.startswith("on")] == []


def test_what_the_document_names_is_there() -> None:
    """Every address is a file of the page, relative, so that the page works below any path; ids stand once."""
    dom = parse((PAGE / "index.html").read_text())
    links = [e.attributes[name] for e in dom.all() for name in ("src", "href") if name in e.attributes]
    files = [link.removeprefix("page/") for link in links if not link.startswith("#")]
    assert files
    assert all((PAGE / file).is_file() or ASIDE[file].is_file() for file in files)
    ids = [e.attributes["id"] for e in dom.all() if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.name)
def test_modules_name_what_is_there(file: Path) -> None:
    """Imports are files of the page that export those names; elements asked for by id are in the document."""
    text = file.read_text()
    for names, source in re.findall(r"import \{([^}]*)\} from \"([^\"]+)\"", text):
        exported = re.findall(r"export (?:async )?(?:function\*? |const |class )(\w+)", (PAGE / source).read_text())
        assert {name.strip() for name in names.split(",")} <= set(exported)
    ids = {e.attributes["id"] for e in parse((PAGE / "index.html").read_text()).all() if "id" in e.attributes}
    assert set(re.findall(r"byId\(\"([^\"]+)\"\)", text)) <= ids


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_file_leads_elsewhere_or_makes_markup_of_text(file: Path) -> None:
    """No address of another host, no import of a style, and no way for text to become markup or code."""
    text = file.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|//\w+\.|@import|url\(", text)
    assert not re.search(r"(inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc", text)
    assert len(text.splitlines()) <= 400


@pytest.mark.parametrize("sheet", ["page.css", "reply.css"])
def test_colours_are_those_of_the_report(sheet: str) -> None:
    """The page's sheets use the variables of the report's, and name no other that they do not set."""
    text, report = (PAGE / sheet).read_text(), ASIDE["report.css"].read_text()
    modules = "".join(file.read_text() for file in MODULES)
    known = set(re.findall(r"(--[\w-]+):", report + text)) | set(re.findall(r"\"(--[\w-]+)\"", modules))
    assert set(re.findall(r"var\((--[\w-]+)", text)) <= known


def test_the_endpoint_serves_the_page(serving: Any) -> None:
    """The document is at the root, each file under its type; nothing may be loaded from elsewhere."""
    with serving(good_router()) as endpoint:
        for name, file in {"": PAGE / "index.html", **{f"page/{file.name}": file for file in FILES}}.items():
            reply = httpx.get(f"{endpoint.url}/{name}")
            assert (reply.status_code, reply.content) == (200, file.read_bytes())
            assert reply.headers["content-type"].startswith(KINDS[file.suffix])
            assert reply.headers["content-security-policy"].startswith("default-src 'self';")
        assert httpx.get(f"{endpoint.url}/page/report.css").content == ASIDE["report.css"].read_bytes()
