/** The endpoint behind the page: what it offers, and its replies as streams of messages (see reply.js). */

/** A failure in one line; `status` is that of HTTP, 0 where there was none. */
export class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

const LOST = "The server cannot be reached. Is it still running?";

/** The models that can be asked, as `{id, kind, pair, small, large, policy, threshold, entropy}`. */
export async function offered(key) {
  const response = await request("v1/models", { headers: headers(key) });
  const { data } = await response.json();
  return data.filter((model) => model.glimp).map((model) => ({ id: model.id, ...model.glimp }));
}

/** How the models are: `{status: "loaded" | "warming" | "failing" | "", error}`; an error is in one line. */
export async function health() {
  try {
    const { status, pairs = {} } = await (await fetch("page/health", { cache: "no-store" })).json();
    const errors = Object.values(pairs).map((pair) => oneLine(pair.error));
    return { status, error: errors.find(Boolean) ?? "" };
  } catch {
    return { status: "", error: "" };
  }
}

/** Ask for a reply: yields its messages as they come. Raises `ServerError`, and `AbortError` once `signal` fires. */
export async function* chat(body, key, signal) {
  const sent = JSON.stringify({ ...body, stream: true, glimp: { trace: true } });
  const response = await request("v1/chat/completions", { method: "POST", headers: headers(key), body: sent, signal });
  let whole = false;
  try {
    for await (const data of events(response.body)) {
      whole = data === "[DONE]";
      if (!whole) yield* messages(JSON.parse(data));
    }
  } catch (error) {
    if (error instanceof ServerError || error.name === "AbortError") throw error;
    throw new ServerError("The connection broke off in the middle of the reply.");
  }
  if (!whole) throw new ServerError("The server ended the reply before it was whole.");
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    throw error.name === "AbortError" ? error : new ServerError(LOST);
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  throw new ServerError(oneLine(told?.error?.message) || `The server answers ${response.status} ${response.statusText}`, response.status);
}

const headers = (key) => ({ "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) });
const oneLine = (text) => (typeof text === "string" ? text.replace(/\s+/g, " ").trim() : "");

function* messages(chunk) {
  if (chunk.error) throw new ServerError(oneLine(chunk.error.message) || "The server reports an error.");
  const { line, index = 0, phase, engine } = chunk.glimp ?? {};
  const { reasoning_content: thought, content } = chunk.choices?.[0]?.delta ?? {};
  if (thought) yield { text: thought, index, phase: phase ?? "thinking", engine };
  if (content) yield { text: content, index, phase: phase ?? "answer", engine };
  if (line) yield { line };
}

/** The data of server-sent events, one event at a time. */
export async function* events(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
      // a line feed may still follow a carriage return at the very end
      const blocks = rest.split(/\r\n\r\n|\n\n|\r\r(?!\n)/);
      rest = blocks.pop();
      for (const block of blocks) {
        const data = block.split(/\r\n|\n|\r/).filter((line) => line.startsWith("data:"));
        if (data.length) yield data.map((line) => line.slice(5).replace(/^ /, "")).join("\n");
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {}); // a reader that leaves has the server stop the models
  }
}
