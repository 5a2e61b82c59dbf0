/** Traces as files: the lines of a reply are the lines of the file. */

const SCHEMA = 1;

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value) => typeof value === "string";
const isIndex = (value) => Number.isInteger(value) && value >= 0;
const areNotes = (value) => value === undefined || (Array.isArray(value) && value.every(isText));

/** What a line of each kind must have for the page to show it. */
const CHECKS = {
  start: ({ start, small, large, question }) =>
    isObject(start) && areNotes(start.notes) && isText(small) && isText(large) && (question == null || isText(question)),
  routed: ({ routed }) => isIndex(routed?.index) && isObject(routed.glimpse) && isObject(routed.decision),
  step: ({ step }) => isIndex(step?.index) && isText(step.text ?? "") && [step.tokens, step.seconds].every(Number.isFinite),
  tool_call: ({ call }) => isObject(call),
  finish: ({ finish }) => isObject(finish) && areNotes(finish.notes) && Number.isFinite(finish.seconds),
  broken: ({ error }) => isText(error),
};

/** The requests of a trace, each as its lines. Raises an error in one line where there is none. */
export function requests(text, name) {
  const found = new Map();
  const lost = new Set();
  for (const written of text.split("\n")) {
    if (!written.trim()) continue;
    const line = read(written);
    if (!line) continue; // cut short, as by a crash
    if (line.glimp !== SCHEMA) throw new Error(`${name} is a trace of schema ${line.glimp}; this page reads ${SCHEMA}.`);
    if (line.kind === "start") found.set(line.run, []);
    if (!Object.hasOwn(CHECKS, line.kind) || !CHECKS[line.kind](line)) lost.add(line.run);
    found.get(line.run)?.push(line);
  }
  const whole = [...found].filter(([run]) => !lost.has(run)).map(([, lines]) => lines);
  if (!whole.length) throw new Error(`${name} is no trace of Glimp: no request in it can be read.`);
  return whole;
}

function read(written) {
  try {
    const line = JSON.parse(written);
    return line && typeof line === "object" && "glimp" in line ? line : null;
  } catch {
    return null;
  }
}

/** Have the browser save the lines of a reply as a file that `glimp trace` reads. */
export function save(lines) {
  const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
  const address = URL.createObjectURL(new Blob([text], { type: "application/jsonl" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = `glimp-${String(lines[0].run).slice(0, 8)}.jsonl`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
