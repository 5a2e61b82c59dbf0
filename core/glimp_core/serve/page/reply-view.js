/** One question and its reply on the page, live or replayed: both are the same messages, and go through `take`. */

import { Measures, Timeline, factList, hideTip, showTip } from "./charts.js";
import { element } from "./dom.js";
import { MarkdownText, fenceAfter } from "./markdown.js";
import { Reply } from "./reply.js";
import { counted, cutShort, nats, seconds, title, withoutText } from "./words.js";

export class ReplyView {
  constructor(question, heading) {
    this.reply = new Reply();
    this.rows = new Map();
    this.changed = new Set();
    this.frame = 0;
    this.running = true;
    this.timeline = new Timeline();
    this.measures = new Measures();
    this.#build(question, heading);
    this.#point();
    this.clock = setInterval(() => this.#tick(), 1000);
    this.begun = performance.now();
  }

  /** Take the next message of the reply. */
  take(message) {
    const step = this.reply.take(message);
    if (step) this.changed.add(step);
    this.frame ||= requestAnimationFrame(() => this.draw());
  }

  /** The reply is over: whole, or with a problem in one line, which is a failure or the reader's wish. */
  end(problem = "", failed = true) {
    this.draw();
    this.running = false;
    this.element.classList.remove("running");
    this.element.setAttribute("aria-busy", "false");
    this.waiting.hidden = true;
    clearInterval(this.clock);
    this.problem.textContent = problem;
    this.problem.hidden = !problem;
    this.problem.classList.toggle("bad", failed);
    for (const step of this.reply.steps) if (!step.text.trim() && step.done) this.#writeNothing(step);
  }

  /** Draw what changed since it was drawn last. */
  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const { reply } = this;
    for (const step of this.changed) this.#drawStep(step);
    this.timeline.update(reply, this.changed);
    this.changed.clear();
    this.waiting.hidden ||= reply.steps.length > 0;
    this.aside.hidden = !reply.steps.length;
    this.pictures.hidden = !reply.routed.length;
    this.measures.update(reply);
    this.#drawWords();
    this.ondraw?.();
  }

  /** Show what another threshold would make of these glimpses; returns it in words, "" where it can't be told. */
  forecast(threshold) {
    const { routed } = this.reply;
    this.timeline.forecast(routed.length ? threshold : null);
    if (threshold === null || !routed.length) return "";
    const over = routed.filter((step) => step.routed.entropy > threshold).length;
    return `${over} of the last ${counted(routed.length, "step")} over it`;
  }

  #build(question, heading) {
    this.count = element("span", { class: "count" });
    this.chain = element("ol", { class: "chain" });
    this.thoughts = element("details", { class: "thoughts", open: true, hidden: true },
      element("summary", {}, element("b", {}, "Thinking"), " ", this.count), this.chain);
    this.answer = element("ol", { class: "chain", hidden: true });
    this.calls = element("div", { class: "calls" });
    this.waited = element("span");
    const what = element("span", { class: "what" }, "waiting for the first step");
    this.waiting = element("p", { class: "waiting" }, what, this.waited);
    this.problem = element("p", { class: "soft problem", role: "alert", hidden: true });
    this.notes = element("div", { class: "soft notes" });
    this.actions = element("div", { class: "actions" });
    const by = element("p", { class: "by" }, heading);
    const words = element("div", { class: "words" }, by, this.waiting, this.thoughts, this.answer, this.calls,
      this.problem, this.notes, this.actions);
    this.element = element("article", { class: "exchange running", "aria-busy": "true" },
      element("p", { class: "asked", dir: "auto" }, question), element("div", { class: "reply" }, words, this.#buildAside()));
  }

  #buildAside() {
    const legend = element("p", { class: "legend" }, element("span", { class: "key small" }, "small writes"),
      element("span", { class: "key large" }, "large writes"), element("span", { class: "key rule" }, "threshold"));
    this.pictures = element("div", { class: "pictures" },
      element("h3", {}, "Entropy of each step's first token, in nats"), this.timeline.element, legend);
    const stay = element("div", { class: "stay" }, this.pictures,
      element("h3", {}, "Seconds and tokens of each model"), this.measures.bars, this.measures.headline);
    this.aside = element("aside", { "aria-label": "Measures of this reply", hidden: true }, stay);
    return this.aside;
  }

  /** Tell how long the first word is waited for. */
  #tick() {
    this.waited.textContent = ` ${Math.round((performance.now() - this.begun) / 1000)} s`;
    if (this.waiting.hidden) clearInterval(this.clock);
  }

  /** Pointing at a column shows its facts, a click leads to its step. */
  #point() {
    const { columns } = this.timeline;
    const over = (event) => event.target.closest("[data-step]");
    const stepOf = (column) => this.reply.steps.find((step) => step.index === Number(column.dataset.step));
    columns.addEventListener("pointerover", (event) => {
      const column = over(event);
      if (column) showTip(stepOf(column), column);
    });
    columns.addEventListener("pointerleave", hideTip);
    columns.addEventListener("click", (event) => {
      const column = over(event);
      if (!column) return;
      this.thoughts.open = true;
      const { row } = this.rows.get(stepOf(column));
      row.scrollIntoView({ block: "center" });
      row.classList.add("on");
      setTimeout(() => row.classList.remove("on"), 1500);
    });
  }

  #drawStep(step) {
    const drawn = this.rows.get(step) ?? this.#addRow(step);
    const thinking = step.phase === "thinking";
    const place = thinking ? this.chain : this.answer;
    if (drawn.row.parentNode !== place) place.append(drawn.row);
    drawn.row.className = `${step.engine}${thinking ? "" : ` ${step.phase}`}${step.done ? "" : " open"}`;
    drawn.head.replaceChildren(...headOf(step));
    drawn.head.setAttribute("aria-label", `${title(step)}: facts`);
    if (!drawn.facts.hidden) drawn.facts.replaceChildren(factList(step));
    // the blank lines between steps are the gaps between the rows
    drawn.words.update(step.text.replace(/^\n+|\s+$/g, ""));
  }

  #addRow(step) {
    const head = element("button", { type: "button", class: "head", "aria-expanded": "false" });
    const text = element("div", { class: "text", dir: "auto" });
    const shown = element("div", { class: "facts-place", hidden: true });
    const row = element("li", {}, head, text, shown);
    head.addEventListener("click", () => {
      shown.hidden = !shown.hidden;
      head.setAttribute("aria-expanded", String(!shown.hidden));
      shown.replaceChildren(factList(step));
    });
    // a paragraph of code may be a step of its own
    const before = this.reply.steps.filter((other) => other.index < step.index && other.phase === step.phase);
    const words = new MarkdownText(text, fenceAfter(before.map((other) => other.text).join("")));
    const drawn = { row, head, text, facts: shown, words };
    this.rows.set(step, drawn);
    return drawn;
  }

  #writeNothing(step) {
    const { text } = this.rows.get(step);
    const redacted = !this.reply.steps.some((any) => any.text);
    if (step.phase === "answer" && this.reply.calls.length) {
      text.append(this.calls);
      return;
    }
    text.className = "none";
    text.textContent = redacted ? "no text recorded" : withoutText(step);
  }

  #drawWords() {
    const { reply } = this;
    const thoughts = reply.steps.filter((step) => step.phase === "thinking");
    this.thoughts.hidden = !thoughts.length;
    this.answer.hidden = thoughts.length === reply.steps.length;
    const byLarge = thoughts.filter((step) => step.engine === "large").length;
    const time = seconds(thoughts.reduce((sum, step) => sum + step.seconds, 0));
    this.count.textContent = `${counted(thoughts.length, "step")}, ${byLarge} by the large model, ${time}`;
    const calls = reply.calls.map((call) => element("pre", {}, callText(call)));
    if (calls.length !== this.calls.childElementCount) this.calls.replaceChildren(...calls);
    this.notes.replaceChildren(...[...cutShort(reply.finish), ...reply.notes].map((note) => element("p", {}, note)));
  }
}

function headOf(step) {
  if (step.routed) return [element("small", {}, "H "), nats(step.routed.entropy)];
  return [step.phase === "answer" ? "answer" : step.engine];
}

function callText({ name, arguments: given }) {
  return `${name}(${typeof given === "string" ? given : JSON.stringify(given)})`;
}
