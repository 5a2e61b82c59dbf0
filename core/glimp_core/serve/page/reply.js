/**
 * A reply as it grows: a fold over its messages, live or replayed.
 *
 * A message is either `{line}`, a line of a trace (glimp_core/trace/schema.py), or `{text, index, phase, engine}`, a piece
 * of the text of step `index`. Lines leave out what has its default value.
 */

const USAGE = ["prefill_tokens", "decode_tokens", "prefill_seconds", "decode_seconds"];
const ROLES = ["small", "large"];

export class Reply {
  constructor() {
    this.lines = [];
    this.head = null;
    this.steps = [];
    this.calls = [];
    this.finish = null;
    this.broken = null;
    this.usedByLarge = noUsage();
  }

  /** Take the next message; returns the step that changed, null where none did. */
  take(message) {
    if (!message.line) return this.#addText(message);
    this.lines.push(message.line);
    const { kind } = message.line;
    if (kind === "start") this.head = message.line;
    else if (kind === "routed") return this.#addGlimpse(message.line.routed);
    else if (kind === "step") return this.#endStep(message.line.step);
    else if (kind === "tool_call") this.calls.push(message.line.call);
    else if (kind === "finish") this.finish = message.line.finish;
    else if (kind === "broken") this.broken = message.line;
    return null;
  }

  get thoughts() {
    return this.#text((step) => step.phase === "thinking");
  }

  /** What the user sees as the reply. */
  get answer() {
    return this.#text((step) => step.phase !== "thinking");
  }

  get notes() {
    return [...(this.head?.start.notes ?? []), ...(this.finish?.notes ?? [])];
  }

  get routed() {
    return this.steps.filter((step) => step.routed);
  }

  get interventions() {
    return this.routed.filter((step) => step.engine === "large").length;
  }

  /** Tokens of the steps that are done, by writer. */
  get tokens() {
    return this.#perRole((step) => [[step.engine, step.tokens]]);
  }

  /** Seconds of the steps that are done, by model; glimpses and drafts are the small one's. */
  get seconds() {
    return this.#perRole((step) => {
      if (step.engine === "small") return [["small", step.seconds]];
      const aside = Math.min(step.seconds, (step.routed?.seconds ?? 0) + step.drafting);
      return [["small", aside], ["large", step.seconds - aside]];
    });
  }

  /** How long the reply took, as far as it is known. */
  get total() {
    const { small, large } = this.seconds;
    return this.finish?.seconds ?? small + large;
  }

  /**
   * Seconds that the large model alone would have taken: an estimate from its own pace in this reply, null without one.
   * The same as `large_alone_seconds` of the summary (glimp_core/figures.py).
   */
  get largeAlone() {
    const large = this.usedByLarge;
    if (!large.decode_tokens) return null;
    const { small: bySmall, large: byLarge } = this.tokens;
    const prompt = this.head?.start.prompt_tokens ?? 0;
    const reading = large.prefill_seconds * Math.min(1, prompt / Math.max(1, large.prefill_tokens));
    return reading + ((bySmall + byLarge) * large.decode_seconds) / large.decode_tokens;
  }

  #text(chosen) {
    return this.steps.filter(chosen).map((step) => step.text).join("");
  }

  #perRole(parts) {
    const sums = { small: 0, large: 0 };
    for (const step of this.steps) if (step.done) for (const [role, value] of parts(step)) sums[role] += value;
    return sums;
  }

  #step(index, phase, engine) {
    let step = this.steps.findLast((known) => known.index === index);
    if (!step) {
      step = { index, phase, engine: role(engine), text: "", routed: null, done: false, tokens: 0, seconds: 0, drafting: 0, end: "" };
      this.steps.push(step);
    }
    return step;
  }

  #addText({ index, phase, engine, text }) {
    const step = this.#step(index, phase, engine);
    step.phase = phase; // a glimpse does not tell it
    step.text += text;
    return step;
  }

  #addGlimpse({ index, glimpse, decision }) {
    const step = this.#step(index, this.#phase, decision.intervene ? "large" : "small");
    step.routed = {
      entropy: Number(glimpse.entropy),
      definition: glimpse.definition ?? "full",
      threshold: decision.threshold === undefined || decision.threshold === null ? null : Number(decision.threshold),
      likeliest: glimpse.text ?? "",
      probability: glimpse.probability ?? 0,
      reason: decision.reason ?? "",
      seconds: (glimpse.usage?.prefill_seconds ?? 0) + (glimpse.usage?.decode_seconds ?? 0),
    };
    return step;
  }

  #endStep({ index, phase, engine, text, tokens, seconds, end, usage, drafting }) {
    const step = this.#step(index, phase, engine);
    const drafted = { ...noUsage(), ...drafting };
    Object.assign(step, { phase, engine: role(engine), tokens, seconds, end, done: true });
    step.text = text || step.text; // without recorded text, the pieces are all there is
    step.drafting = drafted.prefill_seconds + drafted.decode_seconds;
    if (step.engine === "large") for (const name of USAGE) this.usedByLarge[name] += usage?.[name] ?? 0;
    return step;
  }

  get #phase() {
    return this.head?.start.mode === "inline" ? "inline" : "thinking";
  }
}

const role = (engine) => (ROLES.includes(engine) ? engine : "large");
const noUsage = () => Object.fromEntries(USAGE.map((name) => [name, 0]));
