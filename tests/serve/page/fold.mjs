/** What the page's own modules make of what is given on stdin: a JSON document `{task, ...}`; the answer goes to stdout. */

import { readFileSync } from "node:fs";
import { blocks, fenceAfter, spans } from "./markdown.js";
import { Pace, played } from "./playback.js";
import { Reply } from "./reply.js";
import { events } from "./server.js";
import { requests } from "./trace-file.js";

const tasks = {
  /** Figures and texts of runs, folded from their lines, and folded from their replay. */
  async fold({ traces }) {
    const told = [];
    for (const lines of traces) {
      const direct = new Reply();
      for (const line of lines) direct.take({ line });
      const replayed = new Reply();
      const pace = new Pace(lines);
      pace.skip();
      for await (const message of played(lines, pace)) replayed.take(message);
      told.push([figures(direct), figures(replayed)]);
    }
    return told;
  },

  /** The events in a stream of bytes that comes in parts. */
  async events({ streams }) {
    const told = [];
    for (const parts of streams) {
      const found = [];
      for await (const data of events(ReadableStream.from(parts.map((part) => Uint8Array.from(part))))) found.push(data);
      told.push(found);
    }
    return told;
  },

  /** The blocks of texts, with the spans of those that are no code; and those of its lines, one by one. */
  async blocks({ texts }) {
    return texts.map((text) => [
      blocks(text).map((block) => ({ ...block, spans: block.code ? [] : spans(block.text) })),
      text.split("\n").flatMap((line, at, lines) => blocks(line, fenceAfter(lines.slice(0, at).join("\n")))),
    ]);
  },

  /** The requests in files, or why there are none. */
  async requests({ files }) {
    return files.map((text) => {
      try {
        return requests(text, "a.jsonl").map((lines) => lines.length);
      } catch (error) {
        return error.message;
      }
    });
  },
};

const figures = (reply) => ({
  thoughts: reply.thoughts,
  answer: reply.answer,
  calls: reply.calls.length,
  notes: reply.notes,
  routed: reply.routed.length,
  interventions: reply.interventions,
  tokens: reply.tokens,
  seconds: reply.seconds,
  total: reply.total,
  largeAlone: reply.largeAlone,
});

const given = JSON.parse(readFileSync(0, "utf-8"));
process.stdout.write(JSON.stringify(await tasks[given.task](given)));
