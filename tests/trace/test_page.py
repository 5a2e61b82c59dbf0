"""The page shows what the trace holds, loads nothing, and lets no word of anyone be more than text."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dom import Element, parse
from glimp_core import EntropyThreshold, ToolCall
from glimp_core.trace import replay
from glimp_core.trace.page import page
from glimp_core.views.columns import picture
from glimp_core.views.notebook import cell
from recordings import recorded

STEPS = ((0.1, "Two and two.\n\n"), (2.0, "So it is four.\n\n"), (0.5, "Check it.\n\n"), (1.5, "Four."))
ATTACKS = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "{{ 7*7 }}",
    "&lt;",
    "'><b>",
]
WILD = (st.text(max_size=20) | st.sampled_from(ATTACKS)).map(lambda text: "x" + " ".join(text.split()))


def chart(dom: Element, name: str) -> list[Element]:
    """The columns of a chart."""
    (found,) = dom.find(cls=name)
    (columns,) = found.find(cls="columns")
    return [child for child in columns.children if isinstance(child, Element)]


def test_the_chain_is_all_steps_in_order_by_writer() -> None:
    """Each step stands there with its text and the class of its writer, the answer last."""
    items = parse(page([recorded(*STEPS)])).find("ol", "chain")[0].find("li")
    assert [item.find(cls="text")[0].text for item in items] == [text.strip() for _, text in STEPS] + ["It is 4."]
    assert [(item.classes - {"answer"}).pop() for item in items] == ["small", "large", "small", "large", "large"]
    assert ["answer" in item.classes for item in items] == [False] * 4 + [True]


def test_the_timeline_is_to_scale() -> None:
    """Heights are as the entropies, and the threshold line stands at the same height in every routed column."""
    bars = chart(parse(page([recorded(*STEPS)])), "timeline")
    heights = [bar.find(cls="bar")[0].style("--h") for bar in bars[:-1]]
    assert [height / heights[1] for height in heights] == pytest.approx([0.05, 1, 0.25, 0.75], abs=1e-3)
    assert [bar.find(cls="tau")[0].style("--h") / heights[1] for bar in bars[:-1]] == pytest.approx([0.5] * 4, abs=1e-3)
    assert "answer" in bars[-1].find(cls="bar")[0].classes
    assert [(bar.classes - {"on"}).pop() for bar in bars] == ["small", "large", "small", "large", "large"]


def test_a_moving_threshold_has_no_single_label() -> None:
    """The label at the scale is there for one threshold, and not where steps had different ones or none."""
    assert [e.text for e in parse(page([recorded(*STEPS)])).find("b") if "--h" in e.attributes.get("style", "")] == [
        "1.00"
    ]
    other = parse(page([recorded(*STEPS, threshold=None)]))
    assert not other.find(cls="tau")
    assert not other.find(cls="timeline")[0].find("b")
    assert "threshold" not in other.find("p", "legend")[0].text


def test_the_seconds_add_up() -> None:
    """The last column of the seconds is the whole time, split by model: glimpses are the small one's."""
    run = recorded(*STEPS)
    drawn = picture(run.completion)
    done = run.completion
    last = drawn.columns[-1]
    assert (last.small + last.large) / 100 * drawn.most_seconds == pytest.approx(done.finish.seconds, rel=1e-3)
    assert last.small / 100 * drawn.most_seconds == pytest.approx(done.usage.small.seconds, rel=1e-3)
    sums = [column.small + column.large for column in drawn.columns]
    assert sums == sorted(sums)
    columns = chart(parse(page([run])), "seconds")
    assert [column.find(cls="sum")[0].style("--s") for column in columns] == [column.small for column in drawn.columns]
    assert last.alone == pytest.approx(100 * (done.summary().large_alone_seconds or 0) / drawn.most_seconds, abs=0.01)


def test_hover_details_are_in_the_page() -> None:
    """Every column points to a step that has its facts: entropy, threshold, tokens, seconds, reason."""
    dom = parse(page([recorded(*STEPS)]))
    ids = {element.attributes["id"]: element for element in dom.all() if "id" in element.attributes}
    columns = [element for element in dom.all() if "data-step" in element.attributes]
    assert len(columns) == 2 * 5
    for column in columns:
        assert ids[column.attributes["data-step"]].find("dl", "facts")
        assert column.attributes["href"] == "#" + column.attributes["data-step"]
    facts = ids["r0-1"].find("dl", "facts")[0]
    told = dict(zip((dt.text for dt in facts.find("dt")), (dd.text for dd in facts.find("dd")), strict=True))
    assert told["entropy"] == "2.000 nats"
    assert (told["threshold"], told["tokens"], told["decided"]) == ("1.000 nats", "16", "why")


def test_the_page_loads_nothing() -> None:
    """No address but fragments and empty data, no import in the style, and a policy that forbids the rest."""
    html = page([recorded(*STEPS)])
    dom = parse(html)
    links = [e.attributes[a] for e in dom.all() for a in ("src", "href", "action", "srcset") if a in e.attributes]
    assert all(link.startswith(("#", "data:,")) for link in links)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttpRequest", html)
    (policy,) = [e.attributes["content"] for e in dom.find("meta") if "http-equiv" in e.attributes]
    assert policy.startswith("default-src 'none';")


@settings(max_examples=60, deadline=None)
@given(WILD, WILD, WILD, WILD)
def test_words_stay_words(question: str, text: str, answer: str, name: str) -> None:
    """Whatever users, models and tools write, the page has the same tags and attributes, and shows it as text."""

    def built(asked: str, wrote: str, told: str, called: str) -> Element:
        call = ToolCall("1", called, {called: wrote})
        steps = ((0.1, wrote), (2.0, wrote))
        names = {"small": called, "large": called}
        return parse(page([recorded(*steps, question=asked, answer=told, calls=(call,), **names)]))

    dom, plain = built(question, text, answer, name), built("a", "b", "c", "d")
    for of in (lambda e: (e.tag, sorted(e.attributes)), lambda e: e.text if e.tag in ("script", "style") else ""):
        assert list(map(of, dom.all())) == list(map(of, plain.all()))
    assert dom.find("h1")[0].text == question
    assert [item.text for item in dom.find(cls="text")] == [text, text, answer]
    assert name in dom.find("pre")[0].text


def test_tool_calls_are_shown() -> None:
    """A call stands with the answer, name and arguments."""
    dom = parse(page([recorded(*STEPS, answer="", calls=(ToolCall("1", "add", {"a": 2}),))]))
    assert dom.find(cls="calls")[0].text.strip() == 'add({"a": 2})'


def test_a_run_that_broke_off_says_so() -> None:
    """The steps until then, and what ended it."""
    dom = parse(page([recorded(*STEPS[:2], broken="EngineError")]))
    assert len(dom.find("ol", "chain")[0].find("li")) == 2
    assert dom.find("p", "bad")[0].text == "broken off: EngineError: out of memory"
    assert parse(page([recorded(broken="closed")])).find("p", "bad")[0].text.startswith("broken off: the reader left")


def test_a_redacted_run_shows_its_figures() -> None:
    """Without text the charts are the same, and every step says that its text was not recorded."""
    bare = parse(page([recorded(*((h, "") for h, _ in STEPS), question=None, answer="")]))
    assert [e.text for e in bare.find(cls="none")] == ["no text recorded"] * 5
    assert "text not recorded" in bare.find("h1")[0].text


def test_a_step_without_a_word_says_what_it_did() -> None:
    """Between steps with text, one without says how it ended."""
    assert [e.text for e in parse(page([recorded((0.1, "x"), (0.1, ""))])).find(cls="none")] == [
        "ends with a paragraph break"
    ]


MANY = [
    recorded(*STEPS, question="fast", pace=0.01, id="1"),
    recorded(*STEPS, question="slow", pace=0.05, id="2"),
    recorded((3.0, "x"), question="middle", pace=0.02, id="3", broken="EngineError"),
]


def test_many_runs_are_listed_slowest_first() -> None:
    """The table has a row a request with its rate, and each question leads to its part of the page."""
    dom = parse(page(MANY))
    rows = dom.find("table", "runs")[0].find("tbody")[0].find("tr")
    assert [row.find("a")[0].text for row in rows] == ["slow", "fast", "middle"]
    ids = [element.attributes["id"] for element in dom.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    assert {row.find("a")[0].attributes["href"].removeprefix("#") for row in rows} <= set(ids)
    assert "broken off" in rows[2].text
    assert "50%" in rows[0].text
    assert len(dom.find("details", "run")) == 3


def test_the_histogram_counts_every_glimpse() -> None:
    """The bars hold all routed steps, by decision, and the threshold stands where it is."""
    bars = [bar for bar in chart(parse(page(MANY)), "histogram") if bar.tag == "span"]
    counts = [re.findall(r"(\d+) small, (\d+) large", bar.attributes["title"])[0] for bar in bars]
    assert (sum(int(small) for small, _ in counts), sum(int(large) for _, large in counts)) == (4, 5)
    (cut,) = parse(page(MANY)).find(cls="cut")
    assert cut.style("--h") == pytest.approx(100 / 3, abs=0.01)


def test_only_the_slowest_are_shown_in_full() -> None:
    """A page of very many requests stays readable, and says what it leaves out."""
    dom = parse(page(MANY, shown=2))
    assert [run.find("summary")[0].text for run in dom.find("details", "run")] == ["slow", "fast"]
    assert "2 slowest are shown in full" in dom.text


def test_replays_are_labelled() -> None:
    """Each threshold has its rate, its bounds where it is an estimate, and says which it is."""
    run = recorded(*STEPS)
    told = [(f"{t:g}", replay(run.completion, EntropyThreshold(t))) for t in (1.0, 0.3)]
    rows = parse(page([run], told)).find("table", "replays")[0].find("tbody")[0].find("tr")
    cells = [[cell.text.strip() for cell in row.find("td")] for row in rows]
    assert [cells[0][at] for at in (0, 1, 2, 5)] == ["1", "50%", "", "exact"]
    assert [cells[1][at] for at in (0, 1, 2, 5)] == ["0.3", "75%", "50% and 75%", "estimate"]


@pytest.mark.parametrize("steps", [(), STEPS])
def test_a_completion_shows_itself_in_a_notebook(steps: Any) -> None:
    """The fragment has the chain and its own style, no script, and its names are used once a cell."""
    done = recorded(*steps).completion
    one, other = parse(done._repr_html_()), parse(cell(done))  # Jupyter's protocol has an underscore
    assert not one.find("script")
    assert len(one.find("ol", "chain")[0].find("li")) == len(steps) + 1
    ids = [{e.attributes["id"] for e in dom.all() if "id" in e.attributes} for dom in (one, other)]
    assert not ids[0] & ids[1]
