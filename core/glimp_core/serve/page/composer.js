/** What is asked next: the question, who answers it, and at which threshold. */

import { byId, element } from "./dom.js";
import { nats, shortName } from "./words.js";

const PLACEHOLDERS = { pair: "Ask the pair", large: "Ask the large model", small: "Ask the small model" };
const KINDS = { pair: "Pair", large: "Large alone", small: "Small alone" };

/** The highest threshold of the slider, in nats. */
const TALLEST = 4;

export class Composer extends EventTarget {
  constructor() {
    super();
    this.form = byId("composer");
    this.question = byId("question");
    this.slider = byId("threshold");
    this.send = byId("send");
    this.models = [];
    this.pair = "";
    this.moved = false;
    this.running = "";
    this.#listen();
  }

  /** Offer the models of the server. */
  offer(models) {
    this.models = models;
    const pairs = [...new Set(models.map((model) => model.pair))];
    if (!pairs.includes(this.pair)) this.pair = pairs[0] ?? "";
    const list = byId("pairs");
    list.replaceChildren(...pairs.map((pair) => element("option", { value: pair, selected: pair === this.pair }, pair)));
    list.hidden = pairs.length < 2;
    this.#choosePair(this.pair);
  }

  /** The model that answers next; undefined while none is known. */
  get model() {
    const { kind } = this;
    return this.models.find((model) => model.pair === this.pair && model.kind === kind);
  }

  get #whole() {
    return this.models.find((model) => model.pair === this.pair && model.kind === "pair");
  }

  get kind() {
    return this.form.elements.kind.value;
  }

  /** The threshold in nats, finer where it is low. */
  get threshold() {
    return Math.round(100 * TALLEST * (this.slider.value / this.slider.max) ** 2) / 100;
  }

  set threshold(value) {
    this.slider.value = Math.round(this.slider.max * Math.sqrt(Math.min(value, TALLEST) / TALLEST));
  }

  /** The threshold that is asked for; null where the pair keeps its own. */
  get asked() {
    return this.kind === "pair" && this.moved ? this.threshold : null;
  }

  /** Who answers next, in words. */
  get words() {
    const { kind, model } = this;
    const threshold = kind === "pair" ? (this.asked ?? model?.threshold ?? null) : null;
    return KINDS[kind] + (threshold === null ? "" : ` · threshold ${nats(threshold)}`);
  }

  /** Say what is going on: "" for nothing, else the word on the button that ends it. */
  set busy(word) {
    this.running = word;
    this.send.textContent = word || "Send";
    this.send.classList.toggle("stop", Boolean(word));
  }

  /** Let the next question be typed; on a phone, where a keyboard would cover the reply, once it is tapped. */
  focus() {
    if (matchMedia("(pointer: coarse)").matches) this.question.blur();
    else this.question.focus();
  }

  #listen() {
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#go();
    });
    this.question.addEventListener("input", () => this.#fit());
    this.question.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      if (!this.running) this.#go();
    });
    addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.running) this.dispatchEvent(new Event("stop"));
    });
    this.slider.addEventListener("input", () => {
      this.moved = true;
      this.#tell();
    });
    byId("switch").addEventListener("change", () => this.#tell());
    byId("pairs").addEventListener("change", (event) => this.#choosePair(event.target.value));
  }

  #go() {
    if (this.running) {
      this.dispatchEvent(new Event("stop"));
      return;
    }
    const text = this.question.value.trim();
    if (!text) return;
    this.question.value = "";
    this.#fit();
    this.dispatchEvent(new CustomEvent("ask", { detail: text }));
  }

  #choosePair(name) {
    this.pair = name;
    const whole = this.#whole;
    this.moved = false;
    if (whole) this.threshold = whole.threshold ?? 1;
    const key = (role) => element("span", { class: `key ${role}`, title: whole[role] }, shortName(whole[role]));
    byId("pair").replaceChildren(...(whole ? [key("small"), key("large")] : []));
    document.title = whole ? `Glimp: ${shortName(whole.small)} and ${shortName(whole.large)}` : "Glimp";
    this.#tell();
  }

  #tell() {
    const own = this.moved ? this.threshold : (this.#whole?.threshold ?? null);
    byId("nats").textContent = own === null ? "the pair's own" : `${nats(own)} nats`;
    this.slider.setAttribute("aria-valuetext", byId("nats").textContent);
    this.slider.disabled = this.kind !== "pair";
    this.form.classList.toggle("one-model", this.kind !== "pair");
    this.question.placeholder = PLACEHOLDERS[this.kind];
    this.dispatchEvent(new Event("change"));
  }

  #fit() {
    this.question.style.height = "auto";
    this.question.style.height = `${Math.min(this.question.scrollHeight, innerHeight / 3)}px`;
  }
}
