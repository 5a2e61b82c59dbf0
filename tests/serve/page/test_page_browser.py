"""The page in a real browser, over the real endpoint with scripted models: what a person does, and what goes wrong."""

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from glimp_core import EngineError, EntropyThreshold, GlimpRouter
from glimp_core.events import Event
from glimp_core.serve import ServiceSettings
from glimp_core.tap import Asked
from glimp_core.testing import ScriptedEngine
from glimp_core.trace import TraceFile, load

playwright = pytest.importorskip("playwright.sync_api")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine"),
]

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script> & </div> {{ 7*7 }}"
STEPS = ("Two and two.\n\n", f"So {HOSTILE}.\n\n", "שלום, مرحبا, 你好 👩‍🔬 é.\n\n", "Check it.</think>")
ENTROPIES = (0.1, 2.0, 0.05, 1.5)
SCREENS = [(1280, 860, "light"), (1280, 860, "dark"), (390, 844, "light"), (390, 844, "dark")]


def scripted(pause: float = 0.0, taps: Any = (), error: Exception | None = None, **changed: Any) -> GlimpRouter:
    """A pair that writes the script, with a pause before each event; with an `error`, the large model fails by it."""

    def slow(asked: Asked, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
        for event in events:
            time.sleep(pause)
            yield event

    script = {"steps": STEPS, "entropies": ENTROPIES, "answer": f"It is {HOSTILE} 4.", **changed}
    small, large = ScriptedEngine(**script, name="tiny"), ScriptedEngine(**script, name="big", error=error, error_at=3)
    return GlimpRouter(small, large, policy=EntropyThreshold(0.3), taps=[*taps, *([slow] if pause else [])])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield launched
        launched.close()


class Visit:
    """The page opened in a browser of its own; what it asked for elsewhere and complained of is kept."""

    def __init__(self, browser: Any, endpoint: Any, width: int = 1280, height: int = 860, scheme: str = "light"):
        self.endpoint = endpoint
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        viewport = {"width": width, "height": height}
        self.context = browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.on("request", self._note)
        self.page.goto(endpoint.url + "/")

    def _note(self, request: Any) -> None:
        if not request.url.startswith((self.endpoint.url + "/", "blob:" + self.endpoint.url)):
            self.elsewhere.append(request.url)
        if request.method == "POST":
            self.bodies.append(json.loads(request.post_data))

    def ask(self, question: str) -> None:
        self.page.fill("#question", question)
        self.page.press("#question", "Enter")

    def done(self, number: int = 1) -> Any:
        """Wait for so many replies to be over; returns the last one."""
        playwright.expect(self.page.locator(".exchange:not(.running)")).to_have_count(number, timeout=20_000)
        return self.page.locator(".exchange").last


@pytest.fixture
def visit(browser: Any, serving: Any) -> Iterator[Callable[..., Visit]]:
    """Opens the page over an endpoint of a pair; at the end nothing was complained of or asked elsewhere."""
    visits: list[Visit] = []
    with ExitStack() as stack:

        def opened(router: GlimpRouter | None = None, *screen: Any, loaded: bool = True, **settings: Any) -> Visit:
            endpoint = stack.enter_context(serving(router or scripted(), settings=ServiceSettings(**settings)))
            if loaded:
                until_loaded(endpoint)
            visits.append(Visit(browser, endpoint, *screen))
            stack.callback(visits[-1].context.close)
            return visits[-1]

        yield opened
    assert [each.elsewhere for each in visits] == [[]] * len(visits)
    assert [each.complaints for each in visits] == [[]] * len(visits)


def until_loaded(endpoint: Any) -> None:
    while endpoint.endpoint.catalogue.status() != "loaded":
        time.sleep(0.01)


def colours(exchange: Any) -> list[str]:
    """The writers of the steps, as they are shown."""
    return [item.get_attribute("class").split()[0] for item in exchange.locator(".thoughts li").all()]


def test_models_that_load_are_no_error(visit: Callable[..., Visit]) -> None:
    """The page says that they load, and its console nothing; then it goes on by itself."""
    loading = threading.Event()

    class Loading(ScriptedEngine):
        def load(self) -> None:
            loading.wait(20)

    page = visit(GlimpRouter(Loading(), Loading()), loaded=False).page
    playwright.expect(page.locator("body")).to_have_attribute("data-health", "warming")
    loading.set()
    playwright.expect(page.locator("body")).to_have_attribute("data-health", "loaded", timeout=10_000)


@pytest.mark.parametrize("screen", SCREENS, ids=str)
def test_a_person_asks_and_sees_who_writes(visit: Callable[..., Visit], screen: tuple[int, int, str]) -> None:
    """Both colours, every entropy at its step, a column each, the threshold line, the answer; nothing is cut off."""
    page = (at := visit(scripted(), *screen)).page
    at.ask("2 + 2?")
    exchange = at.done()
    assert colours(exchange) == ["small", "large", "small", "large"]
    assert exchange.locator(".thoughts .head").all_inner_texts() == ["H 0.10", "H 2.00", "H 0.050", "H 1.50"]
    assert len(exchange.locator(".columns [data-step]").all()) == 5
    assert len(exchange.locator(".columns .tau:visible").all()) == 4
    assert exchange.locator(".chain .text").all_inner_texts() == [
        *(text.removesuffix("</think>").strip() for text in STEPS),
        f"It is {HOSTILE} 4.",
    ]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    heights = [bar.bounding_box()["height"] for bar in exchange.locator(".bar:not(.answer)").all()]
    assert [height / max(heights) for height in heights] == pytest.approx([0.05, 1, 0.025, 0.75], abs=0.04)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(21, 22, 26)") == (screen[2] == "dark")


def test_the_next_message_is_asked_as_set(visit: Callable[..., Visit]) -> None:
    """The slider's threshold goes along once it was moved, the switch names the model, and what was said is sent."""
    page = (at := visit()).page
    at.ask("first")
    at.done()
    assert page.locator("#nats").inner_text() == "0.30 nats"
    page.fill("#threshold", "140")
    assert page.locator("#nats").inner_text() == "1.96 nats"
    assert page.locator("#forecast").inner_text() == "1 of the last 4 steps over it"
    assert page.locator(".ahead").is_visible()
    at.ask("second")
    assert colours(at.done(2)) == ["small", "large", "small", "small"]
    page.check("text=Large alone", force=True)
    assert page.locator("#threshold").is_disabled()
    dock, composer = (page.locator(name).bounding_box() for name in (".dock", "#composer"))
    assert dock["y"] <= composer["y"]
    assert composer["y"] + composer["height"] < dock["y"] + dock["height"] == 860
    at.ask("third")
    assert colours(at.done(3)) == ["large"] * 4
    first, second, third = at.bodies
    assert ("threshold" in first, second["threshold"], "threshold" in third) == (False, 1.96, False)
    assert [body["model"] for body in at.bodies] == ["glimp", "glimp", "glimp:large"]
    assert [message["content"] for message in third["messages"][::2]] == ["first", "second", "third"]
    assert third["messages"][1]["content"] == f"It is {HOSTILE} 4."
    assert third["messages"][1]["reasoning_content"].startswith("Two and two.\n\nSo <img")
    page.locator(".exchange").nth(1).get_by_role("button", name="Ask again").click()
    at.done(4)
    assert [message["content"] for message in at.bodies[3]["messages"][::2]] == ["first", "second"]
    assert at.bodies[3]["model"] == "glimp:large"
    page.click("text=New chat")
    at.ask("anew")
    at.done()
    assert [message["content"] for message in at.bodies[-1]["messages"]] == ["anew"]


@pytest.mark.parametrize("how", ["Escape", "button"])
def test_a_reply_is_stopped(visit: Callable[..., Visit], how: str) -> None:
    """The models are told by the connection that closes; what was written stays, and is no part of the history."""
    page = (at := visit(scripted(pause=0.02))).page
    at.ask("2 + 2?")
    page.wait_for_selector(".thoughts li")
    page.press("#question", "Escape") if how == "Escape" else page.click("text=Stop")
    exchange = at.done()
    assert exchange.locator(".problem").inner_text() == "stopped here"
    while at.endpoint.endpoint.queue.running:  # or the test's own limit ends it
        time.sleep(0.01)
    assert page.locator("#send").inner_text() == "Send"
    at.ask("again")
    page.wait_for_selector(".exchange:nth-of-type(2) .thoughts li")
    page.press("#question", "Escape")
    assert [message["content"] for message in at.bodies[-1]["messages"]] == ["again"]


def test_a_reply_is_saved_and_replayed(visit: Callable[..., Visit], tmp_path: Path) -> None:
    """The saved file is a trace that Python reads, and played again it shows the same words, colours and figures."""
    page = (at := visit()).page
    at.ask("2 + 2?")
    live = at.done()
    with page.expect_download() as download:
        live.get_by_role("button", name="Save the trace").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    (run,) = load(file)
    assert (run.completion.answer, len(run.completion.steps)) == (f"It is {HOSTILE} 4.", 5)
    page.set_input_files("#file", file)
    replayed = at.done(2)
    assert colours(replayed) == colours(live)
    shown = ".thoughts, .answer, .bars"
    assert replayed.locator(shown).all_text_contents() == live.locator(shown).all_text_contents()
    at.ask("and now?")
    at.done(3)
    assert len(at.bodies[-1]["messages"]) == 3, "a replay is no part of the conversation"


def test_a_file_of_many_requests_is_asked_about(visit: Callable[..., Visit], tmp_path: Path) -> None:
    """Each question is a button; what is no trace is said in one line."""
    file = tmp_path / "many.jsonl"
    for question in ("one?", HOSTILE):
        scripted(taps=[TraceFile(file)]).generate(question)
    page = (at := visit()).page
    page.set_input_files("#file", file)
    page.get_by_role("button", name=HOSTILE).click()
    assert at.done(2).locator(".asked").inner_text() == HOSTILE
    (tmp_path / "none.txt").write_text("hello")
    page.set_input_files("#file", tmp_path / "none.txt")
    assert at.done(3).locator(".problem").inner_text().startswith("none.txt is no trace of Glimp")


def test_a_recorded_failure_is_replayed(visit: Callable[..., Visit], tmp_path: Path) -> None:
    """A request that broke off says how, one that was cut says that, and one that was left is no failure."""
    file = tmp_path / "broken.jsonl"
    with pytest.raises(EngineError):
        scripted(error=EngineError("out of memory"), taps=[TraceFile(file)]).generate("2 + 2?")
    page = (at := visit()).page
    whole = file.read_text()
    *lines, broken = whole.splitlines(keepends=True)
    left = json.dumps({**json.loads(broken), "error": "closed", "message": ""}) + "\n"
    said = {whole: "broken off: EngineError: out of memory", "".join(lines): "broken off: the trace ends here"}
    for number, (text, words) in enumerate({**said, "".join(lines) + left: "stopped here"}.items(), 1):
        file.write_text(text)
        page.set_input_files("#file", file)
        problem = at.done(number).locator(".problem")
        assert problem.inner_text() == words
        assert ("bad" in (problem.get_attribute("class") or "")) == (words != "stopped here")


def test_a_key_is_asked_for(visit: Callable[..., Visit]) -> None:
    """A server with a key refuses the page until it is given; it stays in this tab alone."""
    page = (at := visit(None, api_key="s3cret")).page
    page.fill("#secret", "wrong")
    page.click("text=Use it")
    playwright.expect(page.locator("#pair")).to_contain_text("key")
    page.fill("#secret", "s3cret")
    page.click("text=Use it")
    page.wait_for_selector("#key", state="hidden")
    at.ask("2 + 2?")
    assert len(colours(at.done())) == 4
    assert page.evaluate("localStorage.length") == 0
    assert all("401" in complaint for complaint in at.complaints), "the browser itself reports a refusal"
    at.complaints.clear()


def test_a_failure_is_said_in_one_line(visit: Callable[..., Visit]) -> None:
    """What was written stays, the problem stands under it, and asking again replaces both."""
    page = (at := visit(scripted(error=EngineError("the large model\nis gone")))).page
    at.ask("2 + 2?")
    exchange = at.done()
    assert "the large model is gone" in exchange.locator(".problem").inner_text()
    assert "Two and two." in exchange.locator(".thoughts").inner_text()
    page.check("text=Small alone", force=True)
    page.click("text=Try again")
    page.wait_for_selector(".answer .text")
    playwright.expect(page.locator(".exchange")).to_have_count(1)


def test_a_connection_that_breaks_is_said_so(visit: Callable[..., Visit]) -> None:
    """A stream that ends too early is no whole reply, and what came of it is shown."""
    page = (at := visit()).page
    told = {
        "choices": [{"index": 0, "delta": {"reasoning_content": "Two"}}],
        "glimp": {"index": 0, "phase": "thinking"},
    }
    cut = f"data: {json.dumps(told)}\n\ndata: {{"
    page.route("**/v1/chat/completions", lambda route: route.fulfill(body=cut, content_type="text/event-stream"))
    at.ask("2 + 2?")
    exchange = at.done()
    assert exchange.locator(".problem").inner_text() == "The server ended the reply before it was whole."
    assert "Two" in exchange.locator(".thoughts").inner_text()


def test_the_bundled_pair_is_asked_anew_each_time(visit: Callable[..., Visit]) -> None:
    """It was taught single questions, and is given some to begin with; a click asks one."""
    script = {"steps": STEPS, "entropies": ENTROPIES}
    small, large = (ScriptedEngine(**script, name=f"glimp-tiny-{size}") for size in ("small", "large"))
    page = (at := visit(GlimpRouter(small, large))).page
    page.locator("#examples button").first.click()
    at.done()
    at.ask("and now?")
    at.done(2)
    first, second = (body["messages"] for body in at.bodies)
    assert re.fullmatch(
        r"Start with \d+ and count modulo 31\. (\w+ [*+-]\d\. )+What is the result\?", first[0]["content"]
    )
    assert [message["content"] for message in second] == ["and now?"]


def test_tabs_are_apart_and_long_replies_flow(visit: Callable[..., Visit]) -> None:
    """Two tabs write at once; a reply of 400 steps is drawn whole, and its last step is in view."""
    steps = tuple(f"Step {n}.\n\n" for n in range(400))
    long = {"steps": steps, "entropies": tuple(0.01 * (n % 90) for n in range(400))}
    at = visit(scripted(**long))
    other = at.context.new_page()
    other.goto(at.endpoint.url)
    at.ask("here")
    other.fill("#question", "there")
    other.press("#question", "Enter")
    exchange = at.done()
    assert len(colours(exchange)) == 401
    assert exchange.locator(".answer .text").is_visible()
    assert at.page.evaluate("innerHeight + scrollY > document.documentElement.scrollHeight - 200")
    other.wait_for_selector(".exchange:not(.running)")
    assert other.locator(".asked").inner_text() == "there"


def test_it_works_by_keyboard(visit: Callable[..., Visit]) -> None:
    """The question has the focus; a line break needs Shift; Tab reaches the switch, the slider and the button."""
    page = (at := visit()).page
    page.wait_for_selector("#examples button")
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    at.done()
    assert at.bodies[0]["messages"][0]["content"] == "one\ntwo"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowRight")
    assert page.locator("#nats").inner_text() != "0.30 nats"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.value") == "large"
    assert page.locator("#status").inner_text().startswith("Done in")


def test_a_server_that_comes_late_is_found(visit: Callable[..., Visit]) -> None:
    """While the server is away the page says so, and goes on once it answers."""
    page = (at := visit()).page
    page.route("**/v1/models", lambda route: route.abort())
    page.reload()
    playwright.expect(page.locator("#pair")).to_contain_text("cannot be reached")
    page.unroute("**/v1/models")
    page.wait_for_selector("#examples button")
    at.complaints.clear()
