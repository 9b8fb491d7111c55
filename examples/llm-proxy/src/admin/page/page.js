"use strict";

// Reads the feed at /live and keeps the page true to it. Whatever came from a request goes in as text, never as markup;
// the page's policy has the browser refuse anything else.

/** Beats in a sparkline. */
const HISTORY = 40;
const ENDINGS = 50;
/** A feed that says nothing for so long is not alive, whatever the socket says. */
const SILENCE_MS = 5000;
const RETRY_MS = 2000;
const NONE = "–";

const $ = (id) => document.getElementById(id);
const counts = new Intl.NumberFormat("en");
const round = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit + 1 < units.length) {
    count /= 1024;
    unit += 1;
  }
  return `${unit && count < 100 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

function time(ms) {
  const seconds = Math.floor(ms / 1000);
  const two = (count) => String(count).padStart(2, "0");
  if (seconds < 10) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`;
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${two(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${two(Math.floor(seconds / 60) % 60)} m`;
}

const orNone = (value, say = String) => (value === null || value === undefined ? NONE : say(value));
/** The number of the exchange; what stands before it is the same for all of a process. */
const short = (id) => id.slice(id.lastIndexOf("-") + 1);

/** An element made from a template, whose fields are written only when they change. */
class Item {
  constructor(template) {
    this.element = $(template).content.firstElementChild.cloneNode(true);
    this.fields = new Map();
    for (const element of this.element.querySelectorAll("[data-field]")) {
      this.fields.set(element.dataset.field, { element, text: "" });
    }
  }

  say(name, text, title) {
    const field = this.fields.get(name);
    if (field.text === text) return;
    field.text = text;
    field.element.textContent = text;
    if (title !== undefined) field.element.title = title;
  }
}

class Stream extends Item {
  constructor(stream) {
    super("stream");
    this.id = stream.id;
    this.request = `${stream.method} ${stream.path}`;
    this.bytes = stream.bytes;
    this.rates = [];
    this.line = this.element.querySelector("polyline");
    this.button = this.element.querySelector("button");
    this.button.setAttribute("aria-label", `Abort ${this.request}, id ${short(stream.id)}`);
    this.element.dataset.id = stream.id;
    this.say("id", short(stream.id), stream.id);
    this.say("method", stream.method);
    this.say("path", stream.path, stream.path);
  }

  /** What is so now, `seconds` after the last time; `null` the first time. */
  update(stream, seconds) {
    this.say("status", orNone(stream.status));
    this.say("draining", stream.draining ? "draining" : "");
    this.say("age", time(stream.age_ms));
    this.say("idle", time(stream.idle_ms));
    this.say("bytes", bytes(stream.bytes));
    this.say("frames", counts.format(stream.frames));
    this.rate = seconds === null ? 0 : Math.max(0, stream.bytes - this.bytes) / seconds;
    this.bytes = stream.bytes;
    if (seconds === null) return;
    this.say("rate", `${bytes(this.rate)}/s`);
    this.rates.push(this.rate);
    if (this.rates.length > HISTORY) this.rates.shift();
    this.draw();
  }

  draw() {
    const highest = Math.max(...this.rates, 1);
    const from = HISTORY - this.rates.length;
    const point = (rate, n) => `${from + n},${(15 - (14 * rate) / highest).toFixed(1)}`;
    const points = this.rates.map(point).join(" ");
    if (points === this.points) return;
    this.points = points;
    this.line.setAttribute("points", points);
  }

  /** Takes the row away. Who stood in it is put into the next one. */
  remove() {
    const next = this.element.nextElementSibling ?? this.element.previousElementSibling;
    const focused = this.element.contains(document.activeElement);
    this.element.remove();
    if (focused) (next?.querySelector("button") ?? $("streams-title")).focus();
  }
}

const streams = new Map();
const endings = new Map();
/** When the last event came. */
let heard = null;

function updateStreams(news, seconds) {
  const live = new Set();
  let added = [];
  let rate = 0;
  for (const stream of news.streams) {
    live.add(stream.id);
    let row = streams.get(stream.id);
    const isNew = !row;
    if (isNew) {
      row = new Stream(stream);
      streams.set(stream.id, row);
      added.push(row.element);
    }
    row.update(stream, isNew ? null : seconds);
    rate += row.rate;
  }
  for (const [id, row] of streams) {
    if (live.has(id)) continue;
    streams.delete(id);
    row.remove();
  }
  // Rows never move among each other: the one under a pointer stays the same as long as those above it live.
  $("stream-rows").append(...added);
  $("live").textContent = counts.format(news.live);
  $("draining").textContent = counts.format(news.draining);
  $("ended").textContent = counts.format(news.ended);
  $("rate").textContent = bytes(rate);
  $("no-streams").hidden = news.live > 0;
  const shown = news.streams.length;
  $("more").textContent = shown < news.live ? `the oldest ${counts.format(shown)} are shown` : "";
  document.title = `${news.live} live – llm-proxy`;
}

function updateEndings(news) {
  const rows = $("ending-rows");
  for (const ending of news.endings.toReversed()) {
    // After a reconnect the last ones are told again.
    if (endings.has(ending.id)) continue;
    const row = new Item("ending");
    const usage = ending.usage;
    row.element.dataset.id = ending.id;
    row.say("id", short(ending.id), ending.id);
    row.say("method", ending.method);
    row.say("path", ending.path, ending.path);
    row.say("outcome", ending.outcome.replaceAll("_", " "));
    row.fields.get("outcome").element.dataset.outcome = ending.outcome;
    row.say("reason", ending.reason ?? "", ending.reason ?? "");
    row.say("status", orNone(ending.status));
    row.fields.get("status").element.classList.toggle("refused", ending.status >= 400);
    row.say("bytes", bytes(ending.bytes));
    row.say("elapsed", time(ending.elapsed_ms));
    row.say("model", orNone(usage?.model), usage?.model ?? "");
    row.say("input", orNone(usage?.input_tokens, counts.format));
    row.say("output", orNone(usage?.output_tokens, counts.format));
    row.say("certainty", orNone(usage?.certainty));
    endings.set(ending.id, row);
    rows.prepend(row.element);
  }
  // A Map remembers the order in which they came.
  for (const [id, row] of endings) {
    if (endings.size <= ENDINGS) break;
    endings.delete(id);
    row.element.remove();
  }
  $("no-endings").hidden = endings.size > 0;
}

const bars = [];

function updatePlot(minutes) {
  const svg = $("plot");
  const make = (name, parent) =>
    parent.appendChild(document.createElementNS("http://www.w3.org/2000/svg", name));
  while (bars.length < minutes.length) {
    const group = make("g", svg);
    const bar = { title: make("title", group), input: make("rect", group), output: make("rect", group) };
    for (const kind of ["input", "output"]) {
      bar[kind].setAttribute("class", kind);
      bar[kind].setAttribute("x", bars.length + 0.1);
      bar[kind].setAttribute("width", 0.8);
    }
    bars.push(bar);
  }
  const peak = Math.max(...minutes.map((minute) => minute.input + minute.output));
  const height = (tokens) => (100 * tokens) / Math.max(peak, 1);
  minutes.forEach(({ input, output }, n) => {
    const ago = minutes.length - 1 - n;
    const when = ago ? `${ago} min ago` : "this minute";
    const bar = bars[n];
    bar.title.textContent = `${when}: ${counts.format(input)} input, ${counts.format(output)} output`;
    bar.input.setAttribute("y", 100 - height(input));
    bar.input.setAttribute("height", height(input));
    bar.output.setAttribute("y", 100 - height(input + output));
    bar.output.setAttribute("height", height(output));
  });
  const { input, output } = minutes.at(-1);
  $("input").textContent = round.format(input);
  $("output").textContent = round.format(output);
  $("peak").textContent = round.format(peak);
  const label = `Tokens per minute over half an hour: this minute ${input} input and ${output} output, at the peak ${peak} in all`;
  svg.setAttribute("aria-label", label);
}

function link(state, text) {
  const shown = $("link");
  if (shown.textContent === text) return;
  shown.textContent = text;
  shown.dataset.state = state;
  document.body.classList.toggle("stale", state === "lost");
}

function connect() {
  const feed = new EventSource("live");
  feed.onmessage = (event) => {
    const now = performance.now();
    const news = JSON.parse(event.data);
    updateStreams(news, heard === null ? null : Math.max(now - heard, 1) / 1000);
    updateEndings(news);
    updatePlot(news.minutes);
    heard = now;
    link("live", "connected");
  };
  feed.onerror = () => {
    link("lost", "connection lost, trying again");
    // After a refusal a browser does not try again by itself.
    if (feed.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS);
  };
}

const ask = $("ask");
/** The stream that is asked about. */
let asked = null;

$("stream-rows").addEventListener("click", (event) => {
  const row = event.target.closest("button")?.closest("tr");
  asked = streams.get(row?.dataset.id) ?? null;
  if (asked === null) return;
  $("ask-request").textContent = asked.request;
  $("ask-id").textContent = asked.id;
  ask.showModal();
  $("reason").select();
});

$("cancel").addEventListener("click", () => ask.close());

ask.addEventListener("close", () => {
  // The browser puts the focus back to where it was, if that is still there.
  if (!asked?.element.isConnected) $("streams-title").focus();
});

ask.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask.close();
  abort(asked, $("reason").value.trim());
});

async function abort(row, reason) {
  const said = $("said");
  said.textContent = "";
  row.element.classList.add("aborting");
  const query = reason ? `?reason=${encodeURIComponent(reason)}` : "";
  let result;
  try {
    const answer = await fetch(`streams/${encodeURIComponent(row.id)}${query}`, { method: "DELETE" });
    const results = {
      200: `was aborted: ${reason || "aborted"}`,
      404: "is not known here",
      409: "had ended already",
    };
    result = results[answer.status] ?? `could not be aborted: status ${answer.status}`;
  } catch {
    result = "could not be aborted: no connection";
  }
  row.element.classList.remove("aborting");
  said.textContent = `${row.request} (${short(row.id)}) ${result}`;
}

setInterval(() => {
  const silent = heard !== null && performance.now() - heard > SILENCE_MS;
  if (silent && $("link").dataset.state === "live") link("lost", "no news, waiting");
}, 1000);

connect();
