/** The pictures beside a reply. Lengths are numbers for the style sheet, so that a new scale moves all of them at once. */

import { element, setNumber } from "./dom.js";
import { counted, facts, nats, seconds, title } from "./words.js";

const HEADROOM = 1.08;

/** The entropy of every step, with the threshold that it was compared with. */
export class Timeline {
  constructor() {
    this.columns = element("div", { class: "columns" });
    this.plot = element("div", { class: "plot" }, this.columns);
    this.most = element("span");
    this.label = element("b");
    this.ends = element("div", { class: "ends" }, element("span", {}, "step 0"), element("span"));
    const scale = element("div", { class: "scale" }, this.most, this.label, element("span", {}, "0"));
    this.element = element("div", { class: "chart timeline", role: "img" }, scale, this.plot, this.ends);
    this.ahead = element("i", { class: "ahead", hidden: true });
    this.columns.append(this.ahead);
    this.byStep = new Map();
    this.top = 0;
    this.thresholds = new Set();
  }

  /** Draw the steps that changed. */
  update(reply, changed) {
    for (const step of changed) this.#draw(step);
    const last = reply.steps.at(-1);
    this.ends.lastChild.textContent = last?.index ? `step ${last.index}` : "";
    setNumber(this.ends, "--count", reply.steps.length);
    this.element.setAttribute("aria-label", `Entropy of each step's first token: ${spoken(reply)}`);
    this.plot.scrollLeft = this.plot.scrollWidth;
  }

  /** Show where another threshold would stand; null takes it away. */
  forecast(threshold) {
    this.ahead.hidden = threshold === null;
    if (threshold !== null) setNumber(this.ahead, "--v", Math.min(threshold, this.top * HEADROOM));
  }

  #draw(step) {
    let column = this.byStep.get(step);
    if (!column) {
      column = element("span", {}, element("i"));
      this.byStep.set(step, column);
      this.columns.insertBefore(column, this.ahead);
      column.dataset.step = step.index;
    }
    column.className = step.engine;
    column.firstChild.className = step.routed ? "bar" : "bar answer";
    if (!step.routed || column.childElementCount > 1) return;
    const { entropy, threshold } = step.routed;
    this.#stretch(entropy, threshold);
    setNumber(column.firstChild, "--v", Number.isFinite(entropy) ? entropy : 1e6);
    const line = element("i", { class: "tau", hidden: threshold === null || !Number.isFinite(threshold) });
    setNumber(line, "--v", threshold ?? 0);
    column.append(line);
  }

  #stretch(entropy, threshold) {
    this.top = Math.max(this.top, ...[entropy, threshold ?? 0].filter(Number.isFinite), 1e-9);
    setNumber(this.element, "--top", this.top * HEADROOM);
    this.most.textContent = nats(this.top * HEADROOM);
    if (threshold !== null && Number.isFinite(threshold)) this.thresholds.add(threshold);
    const [one] = this.thresholds;
    const single = this.thresholds.size === 1;
    this.label.textContent = single ? nats(one) : "";
    if (single) setNumber(this.label, "--v", one);
    // the threshold's label takes the place of one that it would cover
    this.element.classList.toggle("low-line", single && one < this.top * 0.17);
    this.element.classList.toggle("high-line", single && one > this.top * 0.93);
  }
}

const spoken = (reply) =>
  `${counted(reply.routed.length, "step")}, ${reply.interventions} written by the large model`;

/** Seconds and tokens of each model, and the seconds of the large one alone. */
export class Measures {
  constructor() {
    this.time = new Bar("this reply");
    this.alone = new Bar("large model alone");
    this.tokens = new Bar("tokens");
    this.headline = element("p", { class: "headline", hidden: true });
    this.bars = element("div", { class: "bars" }, ...this.time.parts, ...this.alone.parts, ...this.tokens.parts);
    this.alone.track.classList.add("hollow");
  }

  update(reply) {
    const { small, large } = reply.seconds;
    const { largeAlone: alone, tokens, total } = reply;
    const shared = Boolean(reply.routed.length || tokens.small || small);
    for (const part of this.alone.parts) part.hidden = !shared;
    const longest = Math.max(small + large, total, alone ?? 0, 1e-9);
    this.time.set(small / longest, large / longest, seconds(total));
    this.alone.set(0, (alone ?? 0) / longest, alone === null ? "unknown" : `${seconds(alone)}, estimate`);
    const written = Math.max(tokens.small + tokens.large, 1);
    this.tokens.set(tokens.small / written, tokens.large / written, `${tokens.small} small, ${tokens.large} large`);
    this.#compare(reply, alone);
  }

  #compare(reply, alone) {
    const { tokens, total } = reply;
    this.headline.hidden = !(reply.finish && alone && total && tokens.small);
    if (this.headline.hidden) return;
    const times = Math.max(alone / total, total / alone).toFixed(1);
    const equal = times === "1.0";
    const words = equal ? "As fast as" : `${alone > total ? "faster" : "slower"} than`;
    const than = element("small", {}, `${words} the large model alone, by estimate`);
    this.headline.replaceChildren(...(equal ? [] : [element("b", {}, `${times}×`), " "]), than);
  }
}

/** A bar with the small and the large model's part. */
class Bar {
  constructor(label) {
    const parts = ["small", "large"].map((role) => element("i", { class: role }));
    this.track = element("div", { class: "track", "aria-hidden": true }, ...parts);
    this.value = element("span", { class: "value" });
    this.parts = [element("span", { class: "label" }, label), this.value, this.track];
  }

  set(small, large, words) {
    setNumber(this.track.firstChild, "--part", small);
    setNumber(this.track.lastChild, "--part", large);
    this.value.textContent = words;
  }
}

/** The facts of a step as a list. */
export function factList(step) {
  const list = element("dl", { class: "facts" });
  for (const [label, value] of facts(step)) list.append(element("dt", {}, label), element("dd", {}, value));
  return list;
}

const tip = element("div", { class: "tip", hidden: true });

/** Show the facts of a step beside its column, for as long as the pointer is there. */
export function showTip(step, column) {
  if (!tip.isConnected) document.body.append(tip);
  tip.className = `tip ${step.engine}`;
  tip.replaceChildren(element("b", {}, title(step)), factList(step));
  tip.hidden = false;
  const at = column.getBoundingClientRect();
  const left = Math.max(8, Math.min(at.left + at.width / 2 - tip.offsetWidth / 2, innerWidth - tip.offsetWidth - 8));
  const under = at.bottom + 8 + tip.offsetHeight < innerHeight;
  tip.style.left = `${left}px`;
  tip.style.top = `${under ? at.bottom + 8 : Math.max(8, at.top - 8 - tip.offsetHeight)}px`;
}

export const hideTip = () => {
  tip.hidden = true;
};
