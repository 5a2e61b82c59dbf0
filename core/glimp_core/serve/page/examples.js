/** Questions to begin with. The bundled pair knows one kind of puzzle, so that it is given puzzles (bundled/problems.py). */

const ORDINALS = ["First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Seventh"];
const USUAL = [
  "Ann has 12 apples. Bob has 3 fewer than Ann, and Cem twice as many as Bob. How many have they together?",
  "A train leaves at 9:40 and takes 2 hours 35 minutes. It stands still for 25 minutes on the way. When does it arrive?",
  "How many of the whole numbers from 1 to 100 can be divided by 3 or by 7?",
];

const upTo = (number) => 1 + Math.floor(Math.random() * number);

function puzzle() {
  const hard = new Set([1, 3, 5].map((at) => at + upTo(2) - 2));
  const sum = () => `${Math.random() < 0.5 ? "+" : "-"}${upTo(9)}`;
  const product = () => `*${6 + upTo(3)}`; // the small model was rarely taught those
  const operations = ORDINALS.map((ordinal, at) => `${ordinal} ${hard.has(at) ? product() : sum()}.`);
  return `Start with ${upTo(30)} and count modulo 31. ${operations.join(" ")} What is the result?`;
}

/** Whether a pair is the bundled one, which was taught single questions: what was said before only confuses it. */
export const isBundled = (model) => model?.small === "glimp-tiny-small" || model?.large === "glimp-tiny-large";

export const examples = (model) => (isBundled(model) ? [puzzle(), puzzle(), puzzle()] : USUAL);
