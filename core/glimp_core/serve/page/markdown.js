/**
 * The little of Markdown that replies are full of: code, headings and bold words. All else stays the text that it is.
 *
 * A text that grows changes at its end, so that only blocks that changed are drawn again.
 */

import { element } from "./dom.js";

const FENCE = /^ *(`{3,}|~{3,}) *[\w+#.-]*\s*$/;
const SPANS = /(?<ticks>`+)(?<code>[^`\n]+)\k<ticks>(?!`)|(?<![\w*])\*\*(?=\S)(?<bold>[^*\n]+)(?<=\S)\*\*(?![\w*])|^ *#{1,6} +(?<heading>.+)$/gm;

/** The blocks of a text, as `{text, code}`, after a fence that was opened before it, or "" where none was. */
export function blocks(text, openFence = "") {
  const found = [];
  let fence = openFence;
  let lines = null;
  const end = (code) => {
    if (lines) found.push({ text: lines.join("\n"), code });
    lines = null;
  };
  for (const line of text.split("\n")) {
    const opened = fenceAfter(line, fence);
    if (opened !== fence) {
      end(Boolean(fence));
      if (opened) lines = [];
      fence = opened;
    } else if (fence || line.trim()) (lines ??= []).push(line);
    else end(false);
  }
  end(Boolean(fence));
  return found;
}

/** The fence that is open after a text, "" for none. */
export function fenceAfter(text, openFence = "") {
  let fence = openFence;
  for (const line of text.split("\n")) {
    const mark = line.trim();
    if (!fence) fence = FENCE.exec(line)?.[1] ?? "";
    else if (mark.startsWith(fence) && !mark.replaceAll(fence[0], "")) fence = "";
  }
  return fence;
}

/** The parts of a block that is no code, as `{text, tag}`, tag "" for plain ones. */
export function spans(text) {
  const found = [];
  let at = 0;
  for (const match of text.matchAll(SPANS)) {
    const { code, bold, heading } = match.groups;
    found.push({ text: text.slice(at, match.index), tag: "" }, { text: code ?? bold ?? heading, tag: code === undefined ? "strong" : "code" });
    at = match.index + match[0].length;
  }
  found.push({ text: text.slice(at), tag: "" });
  return found.filter((span) => span.text);
}

/** A text on the page that is given anew as it grows. */
export class MarkdownText {
  constructor(place, openFence) {
    this.place = place;
    this.openFence = openFence;
    this.drawn = [];
  }

  update(text) {
    const now = blocks(text, this.openFence);
    now.forEach((block, at) => {
      const before = this.drawn[at];
      if (before?.text === block.text && before.code === block.code) return;
      const made = block.code ? element("pre", { dir: "ltr" }, element("code", {}, block.text)) : paragraph(block.text);
      if (this.place.children[at]) this.place.children[at].replaceWith(made);
      else this.place.append(made);
    });
    while (this.place.children.length > now.length) this.place.lastChild.remove();
    this.drawn = now;
  }
}

const paragraph = (text) =>
  element("p", { dir: "auto" }, ...spans(text).map((span) => (span.tag ? element(span.tag, {}, span.text) : span.text)));
