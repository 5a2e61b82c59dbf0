/** The page: asks the server, shows what comes, and replays traces. Nothing is kept but in this tab. */

import { Composer } from "./composer.js";
import { byId, element } from "./dom.js";
import { examples, isBundled } from "./examples.js";
import { Pace, played } from "./playback.js";
import { ReplyView } from "./reply-view.js";
import { ServerError, chat, health, offered } from "./server.js";
import { requests, save } from "./trace-file.js";
import { counted, seconds, shortName } from "./words.js";

const composer = new Composer();
const conversation = byId("conversation");
let exchanges = []; // {question, view, kept}: those that are kept are sent along as history
let stop = null; // ends what is running
let following = true;

const secret = {
  get: () => sessionStorage.getItem("glimp-key") ?? "",
  set: (key) => sessionStorage.setItem("glimp-key", key),
};

const say = (words) => {
  byId("status").textContent = words;
};

/** Ask the server which models it has, for as long as it takes to come up. */
async function connect() {
  try {
    composer.offer(await offered(secret.get()));
    byId("key").hidden = true;
    welcome();
    tellHealth();
  } catch (error) {
    if (error.status === 401) askForKey();
    byId("pair").replaceChildren(element("span", { class: "bad" }, error.message));
    if (error.status === 0) setTimeout(connect, 3000);
  }
}

async function tellHealth() {
  const { status, error } = await health();
  document.body.dataset.health = status;
  if (status === "failing") {
    byId("pair").append(" ", element("span", { class: "bad" }, error || "the models cannot be loaded"));
  }
  if (status === "warming") setTimeout(tellHealth, 2000);
}

function askForKey() {
  byId("key").hidden = false;
  byId("secret").focus();
}

function welcome() {
  byId("welcome").hidden = exchanges.length > 0;
  byId("bundled").hidden = !isBundled(composer.model);
  const asked = examples(composer.model).map((text) => {
    const button = element("button", { type: "button", class: "quiet" }, text);
    button.addEventListener("click", () => ask(text));
    return button;
  });
  byId("examples").replaceChildren(...asked);
}

function show(question, heading) {
  for (const { view } of exchanges) view.thoughts.open = false;
  const view = new ReplyView(question, heading);
  view.ondraw = () => {
    if (following) scrollTo({ top: document.documentElement.scrollHeight });
  };
  const exchange = { question, view, kept: false };
  exchanges.push(exchange);
  byId("welcome").hidden = true;
  conversation.append(view.element);
  following = true;
  view.ondraw();
  return exchange;
}

/** Ask a question; one that was asked before is asked anew, after what was said before it. */
async function ask(question, before = null) {
  stop?.();
  const { model, asked, words } = composer;
  const earlier = before ? exchanges.slice(0, exchanges.indexOf(before)) : exchanges;
  const history = earlier.filter((exchange) => exchange.kept && !isBundled(model)).flatMap(messagesOf);
  const exchange = show(question, words);
  composer.focus();
  const body = { model: model?.id, messages: [...history, { role: "user", content: question }] };
  if (asked !== null) body.threshold = asked;
  const controller = new AbortController();
  const problem = await run(exchange, chat(body, secret.get(), controller.signal), () => controller.abort(), "Stop");
  exchange.kept = Boolean(exchange.view.reply.answer.trim());
  if (before && exchange.kept) before.kept = false;
  if (problem?.status === 401) askForKey();
  addAction(exchange, problem ? "Try again" : "Ask again", () => again(exchange, problem));
}

const messagesOf = ({ question, view: { reply } }) => [
  { role: "user", content: question },
  { role: "assistant", content: reply.answer, ...(reply.thoughts && { reasoning_content: reply.thoughts }) },
];

function again(exchange, problem) {
  ask(exchange.question, exchange);
  if (!problem) return;
  exchange.view.element.remove();
  exchanges = exchanges.filter((other) => other !== exchange);
}

function replay(lines) {
  stop?.();
  const pace = new Pace(lines);
  const { question, small, large } = lines[0];
  const heading = `Replay, ${pace.words} · ${shortName(small)} and ${shortName(large)}`;
  const exchange = show(question ?? "(text not recorded)", heading);
  run(exchange, played(lines, pace), () => pace.skip(), "Skip");
}

/** Show messages as they come, live or replayed; returns the problem that ended them early, null where none did. */
async function run(exchange, messages, end, word) {
  const { view } = exchange;
  const { reply } = view;
  let problem = null;
  stop = end;
  composer.busy = word;
  say("The reply is being written.");
  try {
    for await (const message of messages) view.take(message);
  } catch (error) {
    const left = error.name === "AbortError";
    if (!left) problem = error;
    if (reply.head && !reply.broken) view.take({ line: { ...closed, run: reply.head.run } });
    view.end(left ? "stopped here" : error.message, !left);
  }
  if (view.running) view.end(...ending(reply));
  finish(exchange);
  if (stop === end) {
    stop = null;
    composer.busy = "";
  }
  if (problem && !(problem instanceof ServerError)) console.error(problem);
  return problem;
}

/** The line of a trace whose reader left. */
const closed = { glimp: 1, kind: "broken", error: "closed" };

/** How messages ended that came without a problem, and whether that is a failure; a trace may have been cut. */
function ending({ broken, finish }) {
  if (finish) return ["", false];
  if (broken?.error === "closed") return ["stopped here", false];
  const how = broken ? [broken.error, broken.message].filter(Boolean).join(": ") : "the trace ends here";
  return [`broken off: ${how}`, true];
}

function finish(exchange) {
  const { reply } = exchange.view;
  if (reply.lines.length) {
    addAction(exchange, "Replay", () => replay(reply.lines));
    addAction(exchange, "Save the trace", () => save(reply.lines));
  }
  if (reply.answer && navigator.clipboard) { // there is none on another host without TLS
    addAction(exchange, "Copy the answer", () => navigator.clipboard.writeText(reply.answer.trim()));
  }
  const steps = `${counted(reply.routed.length, "step")}, ${reply.interventions} by the large model`;
  say(reply.finish ? `Done in ${seconds(reply.total)}: ${steps}. ${reply.answer}` : "");
  forecast();
  exchange.view.ondraw();
}

function addAction({ view }, words, act) {
  const button = element("button", { type: "button", class: "quiet" }, words);
  button.addEventListener("click", act);
  view.actions.append(button);
}

/** Draw the threshold of the slider over the last reply. */
function forecast() {
  const last = exchanges.at(-1)?.view;
  for (const { view } of exchanges) if (view !== last) view.forecast(null);
  byId("forecast").textContent = last?.forecast(composer.asked) ?? "";
}

async function openTrace(file) {
  if (!file) return;
  try {
    const found = requests(await file.text(), file.name);
    if (found.length === 1) replay(found[0]);
    else offerReplays(file.name, found);
  } catch (error) {
    show(file.name, "Replay").view.end(error.message);
  }
}

function offerReplays(name, found) {
  const { view } = show(name, `${counted(found.length, "request")} in this trace: which one?`);
  view.end();
  const buttons = found.map((lines) => {
    const button = element("button", { type: "button", class: "quiet" }, lines[0].question ?? "(text not recorded)");
    button.addEventListener("click", () => replay(lines));
    return button;
  });
  view.actions.append(element("div", { class: "examples" }, ...buttons));
}

function clear() {
  stop?.();
  exchanges = [];
  conversation.replaceChildren();
  forecast();
  welcome();
  composer.focus();
}

composer.addEventListener("ask", (event) => ask(event.detail));
composer.addEventListener("stop", () => stop?.());
composer.addEventListener("change", forecast);
byId("new").addEventListener("click", clear);
byId("open").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", (event) => {
  openTrace(event.target.files[0]);
  event.target.value = "";
});
byId("key").addEventListener("submit", (event) => {
  event.preventDefault();
  secret.set(byId("secret").value.trim());
  connect();
});
addEventListener("scroll", () => {
  following = innerHeight + scrollY >= document.documentElement.scrollHeight - 120;
}, { passive: true });
addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  byId("drop").hidden = false;
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("drop").hidden = true;
});
addEventListener("drop", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  byId("drop").hidden = true;
  openTrace(event.dataTransfer.files[0]);
});
connect();
