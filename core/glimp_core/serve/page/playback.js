/** A recorded reply, played as if it were live: the same messages, in the same order, at a pace that can be followed. */

/** Seconds that a replay takes at least and at most. */
const SHORTEST = 5;
const LONGEST = 40;

/** The seconds that the steps of a reply took. */
export const duration = (lines) => lines.reduce((sum, line) => sum + (line.step?.seconds ?? 0), 0);

/** Waits for a replay; `speed` is 1 where it is as fast as it was. */
export class Pace {
  constructor(lines) {
    const real = duration(lines);
    this.speed = real ? real / Math.min(LONGEST, Math.max(SHORTEST, real)) : 1;
    this.due = performance.now();
    this.wake = () => {};
  }

  /** Wait until so many recorded seconds more have passed. */
  wait(seconds) {
    this.due += (1000 * seconds) / this.speed;
    const left = this.due - performance.now();
    if (!(left > 4)) return Promise.resolve(); // timers are no finer
    return new Promise((resolve) => {
      this.wake = resolve;
      setTimeout(resolve, left);
    });
  }

  /** Play the rest at once. */
  skip() {
    this.speed = Infinity;
    this.due = 0;
    this.wake();
  }

  /** The pace in words. */
  get words() {
    const times = Math.max(this.speed, 1 / this.speed);
    if (times < 1.05) return "at its own pace";
    return `${times.toFixed(times < 10 ? 1 : 0)} times ${this.speed < 1 ? "slower" : "faster"} than it was`;
  }
}

/** Yield the messages of a recorded reply. */
export async function* played(lines, pace) {
  let glimpsed = 0;
  for (const line of lines) {
    if (line.kind === "routed") {
      const usage = line.routed.glimpse.usage ?? {};
      glimpsed = (usage.prefill_seconds ?? 0) + (usage.decode_seconds ?? 0);
      await pace.wait(glimpsed);
    } else if (line.kind === "step") {
      yield* written(line.step, pace, Math.max(0, line.step.seconds - glimpsed));
      glimpsed = 0;
    }
    yield { line };
  }
}

async function* written({ index, phase, engine, text = "" }, pace, seconds) {
  const pieces = text.match(/\s*\S+|\s+$/g) ?? [];
  for (const piece of pieces) {
    await pace.wait(seconds / pieces.length);
    yield { text: piece, index, phase, engine };
  }
}
