"""The page in a real browser: it opens from disk without a complaint, and its details appear."""

import shutil
import subprocess
from pathlib import Path

import pytest

from dom import Element, parse
from glimp_core.trace.page import page
from recordings import recorded

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-logging=stderr --virtual-time-budget=2000 --dump-dom"
)
STEPS = tuple((0.1 * (n % 17), f"Step <b>{n}</b> & so on.\n\n") for n in range(40))


def opened(file: Path, html: str) -> tuple[Element, list[str]]:
    """The page after its script ran, and what the console said."""
    file.write_text(html, encoding="utf-8")
    command = [str(BROWSER), *FLAGS.split(), f"--user-data-dir={file.parent / 'profile'}", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return parse(done.stdout), said


@pytest.mark.parametrize("number", [1, 3])
def test_the_page_opens_without_a_complaint(tmp_path: Path, number: int) -> None:
    """One run or several: no error and no warning in the console, and all steps are there."""
    runs = [recorded(*STEPS, question="</script><script>alert(1)</script>", id=str(n)) for n in range(number)]
    dom, said = opened(tmp_path / "t.html", page(runs))
    assert said == []
    assert [len(chain.find("li")) for chain in dom.find("ol", "chain")] == [41] * number
    assert len(dom.find("script")) == 1


def test_details_appear_over_a_column(tmp_path: Path) -> None:
    """Pointing at a column shows the facts of its step and lights both up; leaving hides them."""
    point = (
        "document.querySelectorAll('.timeline a')[7].dispatchEvent(new PointerEvent('pointerover', {bubbles: true}))"
    )
    html = page([recorded(*STEPS)])
    dom, said = opened(tmp_path / "t.html", html.replace("</body>", f"<script>{point}</script></body>"))
    (tip,) = dom.find(cls="tip")
    assert "hidden" not in tip.attributes
    assert (tip.find("b")[0].text, "0.700 nats" in tip.text) == ("step 7 · small · H 0.70", True)
    assert {e.attributes.get("id", e.attributes.get("data-step")) for e in dom.find(cls="on")} == {"r0-7"}
    leave = "document.querySelector('.timeline .columns').dispatchEvent(new PointerEvent('pointerleave'))"
    dom, said = opened(tmp_path / "t.html", html.replace("</body>", f"<script>{point};{leave}</script></body>"))
    assert "hidden" in dom.find(cls="tip")[0].attributes
    assert (dom.find(cls="on"), said) == ([], [])
