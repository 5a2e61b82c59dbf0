/** Numbers as words, as the report of a trace has them. */

export function seconds(value) {
  if (value < 0.9995) return value >= 0.001 ? `${(value * 1000).toFixed(0)} ms` : `${(value * 1000).toFixed(1)} ms`;
  return value < 100 ? `${value.toFixed(1)} s` : `${value.toFixed(0)} s`;
}

export const nats = (value) => (Number.isFinite(value) ? value.toFixed(value < 0.1 ? 3 : 2) : "∞");
export const percent = (share) => `${Math.round(share * 100)}%`;
export const counted = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

/** The name of a model; of a folder, its last part. */
export const shortName = (name) => (/^(\/|~|\.|[A-Za-z]:[\\/])/.test(name) ? name.split(/[\\/]/).filter(Boolean).at(-1) : name);

const ENDS = {
  break: "a paragraph break",
  close: "the closing tag",
  eos: "the end of the reply",
  length: "its token limit",
  stop: "a stop string",
  failure: "a failure of the model",
};

const CUT_SHORT = {
  budget: "The thinking was ended where its tokens were used up.",
  repetition: "The thinking was ended where it went in circles.",
  length: "The reply was ended where its tokens were used up.",
};

/** What ended a reply before the models did: notes, mostly none. */
export const cutShort = (finish) => [finish?.thinking_end, finish?.finish_reason].map((end) => CUT_SHORT[end]).filter(Boolean);

/** What a step is, in a few words. */
export function title(step) {
  const entropy = step.routed ? ` · H ${nats(step.routed.entropy)}` : "";
  return `${step.phase === "answer" ? "answer" : `step ${step.index}`} · ${step.engine}${entropy}`;
}

/** What a step did that wrote no word. */
export const withoutText = (step) => (step.end === "close" ? "ends the thinking" : `ends with ${ENDS[step.end] ?? step.end}`);

/** What there is to know about a step: pairs of label and value. */
export function facts(step) {
  const told = [];
  if (step.routed) {
    const { entropy, definition, threshold, likeliest, probability, reason } = step.routed;
    told.push(["entropy", `${entropy.toFixed(3)} nats${definition === "full" ? "" : ", top 20"}`]);
    if (threshold !== null) told.push(["threshold", `${threshold.toFixed(3)} nats`]);
    if (likeliest) told.push(["likeliest first token", `${JSON.stringify(likeliest)}${probability ? `, ${percent(probability)}` : ""}`]);
    if (reason) told.push(["decided", reason]);
  }
  told.push(["written by", `the ${step.engine} model`]);
  if (step.done) {
    told.push(["tokens", String(step.tokens)], ["seconds", seconds(step.seconds)], ["ended by", ENDS[step.end] ?? step.end]);
  }
  return told;
}
