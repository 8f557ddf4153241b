// The editor of captions: a player of the caption's own frames, a list, and keys for everything.

import { Captions } from "./edits.js";
import { drawOverview, nearestAt } from "./overview.js";
import { say } from "./page.js";
import { Player, Reels } from "./reels.js";

const AROUND = 5; // frames shown before and after a caption
const SETTLE_MS = 900; // after the last nudge
const UNDO_STEPS = 50;

const get = (id) => document.getElementById(id);
const facts = JSON.parse(get("editor").dataset.editor);
const rowTemplate = get("row").content;
const list = get("captions");
const text = get("text");
const msOf = (frame) => Math.round((frame * 1000) / facts.frameRate);
const frameOf = (ms) => Math.ceil((ms * facts.frameRate) / 1000 - 1e-6);
const endFrameOf = (row) => Math.max(frameOf(row.start_ms) + 1, frameOf(row.end_ms));

let current = null; // id of the caption in hand
let nudged = null; // { id, start_ms, end_ms } not sent yet
let settling = 0;
const undos = [];
const elements = new Map();

function clock(ms) {
  const minutes = Math.floor(ms / 60000);
  const rest = ((ms % 60000) / 1000).toFixed(3).padStart(6, "0");
  const hours = Math.floor(minutes / 60);
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

// --- what is shown

const captions = new Captions(facts.video, {
  changed: () => draw(),
  saving: (words) => (get("saving").textContent = words),
  failed: complain,
});

// Says why a change was not made, and shows the caption as it is.
function complain(words) {
  nudged = null;
  get("problem").textContent = words;
  get("problem").hidden = false;
  choose(current, { focus: false, force: true });
}

const player = new Player(new Reels(facts), facts.frameRate, {
  screen: get("screen"),
  changed: ({ index, first, last, start, end, isPlaying, isInside }) => {
    const seek = get("seek");
    [seek.min, seek.max] = [first, last];
    seek.value = index;
    seek.setAttribute("aria-valuetext", `${clock(msOf(index))}, ${isInside ? "inside" : "outside"}`);
    const span = Math.max(1, last - first);
    get("inside").style.left = `${(100 * (start - first)) / span}%`;
    get("inside").style.width = `${(100 * Math.max(0, end - 1 - start)) / span}%`;
    get("clock").textContent = clock(msOf(index));
    get("outside").hidden = isInside;
    get("play").textContent = isPlaying ? "❚❚" : "▶";
    get("play").setAttribute("aria-pressed", isPlaying);
    get("screen").dataset.frame = index;
    get("screen").dataset.drawn = player.drawn;
  },
});

const pictures = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    clearTimeout(entry.target.waiting);
    if (!entry.isIntersecting) continue;
    // What is only scrolled past is not asked for.
    entry.target.waiting = setTimeout(() => {
      if (entry.target.src !== new URL(entry.target.dataset.src, location).href) entry.target.src = entry.target.dataset.src;
    }, 120);
  }
}, { rootMargin: "200px" });

const MARKS = { confirmed: "confirmed", issue: "has an issue" };

function drawRow(row) {
  let element = elements.get(row.id);
  if (!element) {
    element = rowTemplate.cloneNode(true).firstElementChild;
    element.querySelector("button").dataset.id = row.id;
    elements.set(row.id, element);
  }
  const isRead = row.typed_text !== null || !["queued", "processing"].includes(row.ocr_status);
  const words = row.text || (isRead ? "no text" : "is being read …");
  element.querySelector(".text").textContent = words;
  element.querySelector(".text").classList.toggle("missing", !row.text);
  element.querySelector(".when").textContent = `${clock(row.start_ms)} – ${clock(row.end_ms)}`;
  const doubtful = row.typed_text === null && row.ocr_confidence !== null && row.ocr_confidence < 0.8;
  const mark = row.ocr_error && row.typed_text === null ? "could not be read" : MARKS[row.state] ?? (doubtful ? "not sure" : "");
  element.querySelector(".mark").textContent = mark;
  element.className = `${row.state}${doubtful && row.state === "predicted" ? " doubtful" : ""}`;
  element.querySelector("button").setAttribute("aria-current", row.id === current);
  const picture = element.querySelector("img");
  const middle = Math.floor((frameOf(row.start_ms) + endFrameOf(row) - 1) / 2);
  const address = `/review/videos/${facts.video}/cropped-frames/${facts.version}/${middle}.jpg`;
  if (picture.dataset.src !== address) {
    picture.dataset.src = address;
    pictures.unobserve(picture);
    pictures.observe(picture);
  }
  return element;
}

function visible() {
  const openOnly = get("open-only").checked;
  return captions.rows.filter((row) => !openOnly || row.state !== "confirmed" || row.id === current);
}

function draw() {
  const rows = visible();
  const wanted = rows.map(drawRow);
  for (const [id, element] of elements) {
    if (!captions.find(id)) {
      element.remove();
      elements.delete(id);
    }
  }
  if (wanted.length !== list.children.length || wanted.some((element, place) => list.children[place] !== element)) {
    list.replaceChildren(...wanted);
  }
  const confirmed = captions.rows.filter((row) => row.state === "confirmed").length;
  get("progress").textContent = `${confirmed} of ${captions.rows.length} confirmed`;
  get("none").hidden = captions.rows.length > 0;
  get("undo").disabled = undos.length === 0;
  drawAlong();
  const row = captions.find(current);
  if (!row) {
    if (rows.length) choose(rows[0].id, { focus: false });
  } else drawHand(row);
}

const drawAlong = () => drawOverview(get("overview"), captions.rows, facts.durationMs, current);

let handText = ""; // the caption's text when it was put into the field

function isTyping() {
  return text.value !== handText;
}

function times(row) {
  return nudged?.id === row.id ? nudged : row;
}

function drawHand(row) {
  const { start_ms, end_ms } = times(row);
  get("start").textContent = clock(start_ms);
  get("end").textContent = clock(end_ms);
  if (!isTyping()) text.value = handText = row.text;
  const [start, end] = [frameOf(start_ms), Math.max(frameOf(start_ms) + 1, frameOf(end_ms))];
  if (player.start !== start || player.end !== end || player.of !== row.id) {
    const keep = player.of === row.id;
    player.of = row.id;
    const most = facts.frameCount === null ? end - 1 + AROUND : facts.frameCount - 1;
    player.take({ start, end, first: Math.max(0, start - AROUND), last: Math.max(start, Math.min(most, end - 1 + AROUND)) }, { keep });
  }
}

function choose(id, { focus = true, force = false } = {}) {
  const row = captions.find(id);
  if (!row) return;
  if (id !== current || force) {
    if (!force) {
      get("problem").hidden = true;
      keepText();
    }
    settle();
    current = id;
    text.value = handText = row.text;
    for (const [other, element] of elements) element.querySelector("button").setAttribute("aria-current", other === id);
  }
  drawHand(row);
  drawAlong();
  const next = captions.rows[captions.rows.indexOf(row) + 1];
  if (next) player.reels.prefetch(frameOf(next.start_ms), frameOf(next.start_ms) + 8);
  const button = elements.get(id)?.querySelector("button");
  button?.scrollIntoView({ block: "nearest" });
  if (focus) button?.focus({ preventScroll: true });
}

function move(by) {
  const rows = visible();
  const place = rows.findIndex((row) => row.id === current);
  const next = rows[Math.min(Math.max(place + by, 0), rows.length - 1)];
  if (next) choose(next.id);
}

// --- changes

function remember(label, back) {
  undos.push({ label, back });
  if (undos.length > UNDO_STEPS) undos.shift();
  get("undo").disabled = false;
}

function patch(row, body, shown, done) {
  captions.change({
    method: "PATCH",
    path: `/${row.id}`,
    body,
    touched: [row.id],
    show: () => captions.put([{ ...captions.find(row.id), ...shown }]),
    done,
  });
}

// Sends the text in the field when it was changed; true when it was.
function keepText() {
  const row = captions.find(current);
  if (!row || !isTyping()) return false;
  const typed = text.value.trim();
  if (!typed) {
    text.value = handText;
    say("A caption's text is not empty. Delete the caption instead.");
    return false;
  }
  if (row.text !== handText) {
    complain(`Somebody else changed this caption while you typed. Your text was: “${typed}”`);
    return false;
  }
  handText = text.value = typed;
  const before = { ...row };
  remember("the text", () =>
    patch(before, { text: before.typed_text, state: before.state }, { text: before.text, typed_text: before.typed_text, state: before.state }),
  );
  patch(row, { text: typed }, { text: typed, typed_text: typed, state: "confirmed" });
  return true;
}

// Sends the times that were nudged.
function settle() {
  clearTimeout(settling);
  const row = nudged && captions.find(nudged.id);
  if (!row) return false;
  const { start_ms, end_ms } = nudged;
  nudged = null;
  if (start_ms === row.start_ms && end_ms === row.end_ms) return false;
  const before = { ...row };
  // The person sees the text: a frame more or less needs no new reading.
  const said = row.text ? { text: row.text } : {};
  remember("the times", () =>
    patch(
      before,
      { start_ms: before.start_ms, end_ms: before.end_ms, state: before.state, ...said },
      { start_ms: before.start_ms, end_ms: before.end_ms, state: before.state },
    ),
  );
  patch(row, { start_ms, end_ms, ...said }, { start_ms, end_ms, state: "confirmed", typed_text: row.text || null });
  return true;
}

function nudge(side, by) {
  const row = captions.find(current);
  if (!row) return;
  const now = { id: row.id, start_ms: times(row).start_ms, end_ms: times(row).end_ms };
  const frame = frameOf(now[`${side}_ms`]);
  // Times lie between frames: the first step earlier goes to the frame before.
  now[`${side}_ms`] = Math.max(0, msOf(frame + by));
  if (frameOf(now.start_ms) >= frameOf(now.end_ms)) return say("A caption lasts one frame at least.");
  if (side === "end" && by > 0 && facts.durationMs !== null && now.end_ms > facts.durationMs) now.end_ms = Math.max(facts.durationMs, row.end_ms);
  nudged = now;
  clearTimeout(settling);
  settling = setTimeout(settle, SETTLE_MS);
  player.play(false);
  drawHand(row);
  player.show(side === "start" ? player.start : player.end - 1);
}

function confirm() {
  const row = captions.find(current);
  if (!row) return;
  const [typed, timed] = [keepText(), settle()];
  if (!typed && !timed && row.state !== "confirmed") {
    const before = { ...row };
    remember("the confirmation", () => patch(before, { state: before.state }, { state: before.state }));
    captions.change({
      method: "POST",
      path: "/confirm",
      body: { caption_ids: [row.id] },
      touched: [row.id],
      show: () => captions.put([{ ...row, state: "confirmed" }]),
    });
  }
  const rows = visible();
  const place = rows.findIndex((other) => other.id === row.id);
  if (place + 1 < rows.length) choose(rows[place + 1].id);
  else say("That was the last caption.");
}

function split() {
  const row = captions.find(current);
  if (!row) return;
  if (player.isPlaying) {
    player.play(false);
    return say("Stopped. Go to the second caption's first frame, then split again.");
  }
  keepText();
  settle();
  const before = { ...captions.find(row.id) };
  const at = msOf(player.index);
  if (at <= before.start_ms || at >= before.end_ms) return say("Show the second caption's first frame, then split.");
  captions.change({
    method: "POST",
    path: `/${row.id}/split`,
    body: { at_ms: at },
    touched: [row.id],
    show: () => captions.put([{ ...before, end_ms: at, state: "confirmed" }]),
    done: (made) => {
      say("Split. The machine reads both again.");
      remember("the split", () =>
        captions.change({
          method: "POST",
          path: "/merge",
          body: { caption_ids: made.map((part) => part.id), ...(before.text ? { text: before.text } : {}) },
          touched: made.map((part) => part.id),
          show: () => {
            captions.drop(made[1].id);
            captions.put([{ ...before, typed_text: before.text || null, state: "confirmed" }]);
          },
        }),
      );
    },
  });
}

function joined(first, second) {
  if (first.includes(second)) return first;
  return second.includes(first) ? second : `${first} ${second}`;
}

function merge() {
  keepText();
  settle();
  const row = captions.find(current);
  const next = row && captions.rows.slice(captions.rows.indexOf(row) + 1).find((other) => other.track === row.track);
  if (!next) return say("There is no caption after this one.");
  const said = row.text && next.text ? joined(row.text, next.text) : "";
  captions.change({
    method: "POST",
    path: "/merge",
    body: { caption_ids: [row.id, next.id], ...(said ? { text: said } : {}) },
    touched: [row.id, next.id],
    show: () => {
      captions.drop(next.id);
      captions.put([{ ...row, end_ms: Math.max(row.end_ms, next.end_ms), text: said, typed_text: said || null, state: "confirmed" }]);
    },
    done: () => say("Merged. Look at its text."),
  });
}

function remove() {
  const row = captions.find(current);
  if (!row) return;
  text.value = handText;
  nudged = null;
  const rows = visible();
  const place = rows.findIndex((other) => other.id === row.id);
  const next = rows[place + 1] ?? rows[place - 1];
  const before = { ...row };
  remember("the deletion", () =>
    captions.change({
      method: "PATCH",
      path: `/${before.id}`,
      body: { state: before.state },
      touched: [],
      show: () => captions.put([before]),
    }),
  );
  captions.change({
    method: "DELETE",
    path: `/${row.id}`,
    body: undefined,
    touched: [row.id],
    show: () => {
      current = next?.id ?? null;
      captions.drop(row.id);
    },
  });
  say("Deleted. U brings it back.");
  if (next) choose(next.id, { force: true });
}

function undo() {
  if (isTyping()) {
    text.value = handText;
    return;
  }
  settle();
  const last = undos.pop();
  get("undo").disabled = undos.length === 0;
  if (!last) return say("There is nothing to undo.");
  last.back();
  say(`Undone: ${last.label}.`);
  const row = captions.find(current);
  if (row) {
    text.value = handText = row.text;
    drawHand(row);
  }
}

// --- keys and buttons

const KEYS = {
  j: () => move(1), ArrowDown: () => move(1),
  k: () => move(-1), ArrowUp: () => move(-1),
  c: confirm,
  e: () => text.focus(), Enter: () => text.focus(),
  a: () => nudge("start", -1), s: () => nudge("start", 1),
  d: () => nudge("end", -1), f: () => nudge("end", 1),
  x: split, m: merge, u: undo,
  Delete: remove, Backspace: remove,
  " ": () => player.play(),
  ",": () => player.step(-1), ".": () => player.step(1),
};

document.addEventListener("keydown", (event) => {
  const target = event.target;
  const inText = target === text || (target.matches("input") && !["checkbox", "range"].includes(target.type));
  if (get("help").open || inText || event.altKey) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key !== "z" || event.shiftKey) return;
    event.preventDefault();
    return undo();
  }
  if (event.key === "?") return get("help").showModal();
  // Buttons and sliders have some keys themselves; a caption in the list gives them to us.
  if ([" ", "Enter"].includes(event.key) && target.matches("button:not(.caption), summary, a, [type=checkbox]")) return;
  if (event.key.startsWith("Arrow") && target.matches("[type=range]")) return;
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!(name in KEYS) || (!get("keys-on").checked && name.length === 1 && name !== " ")) return;
  event.preventDefault();
  KEYS[name]();
});

text.addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  if (event.key === "Escape") text.value = handText;
  else if (event.key !== "Enter" || event.shiftKey) return;
  else keepText();
  event.preventDefault();
  choose(current);
});

get("form").addEventListener("submit", (event) => {
  event.preventDefault();
  confirm();
});
for (const button of document.querySelectorAll("[data-nudge]")) {
  const [side, by] = button.dataset.nudge.split(":");
  button.addEventListener("click", () => nudge(side, Number(by)));
}
for (const [id, act] of Object.entries({ split, merge, delete: remove, undo })) get(id).addEventListener("click", act);
get("play").addEventListener("click", () => player.play());
get("seek").addEventListener("input", () => {
  const frame = Number(get("seek").value);
  player.play(false);
  player.show(frame);
});
get("screen").addEventListener("click", () => player.play());
get("overview").addEventListener("click", (event) => {
  const row = nearestAt(get("overview"), captions.rows, facts.durationMs, event.clientX);
  if (row) choose(row.id, { focus: false });
});
addEventListener("resize", drawAlong);
list.addEventListener("click", (event) => {
  const button = event.target.closest(".caption");
  if (!button) return;
  // A second click, or tap, is for its text.
  if (Number(button.dataset.id) === current) text.focus();
  else choose(Number(button.dataset.id));
});
get("open-only").addEventListener("change", draw);
get("help-button").addEventListener("click", () => get("help").showModal());
get("keys-on").checked = localStorage.getItem("captionacc-keys") !== "off";
get("keys-on").addEventListener("change", () => localStorage.setItem("captionacc-keys", get("keys-on").checked ? "on" : "off"));
addEventListener("beforeunload", (event) => {
  if (captions.isBusy || isTyping() || nudged) event.preventDefault();
});

async function keepFresh() {
  if (!document.hidden && !captions.isBusy && !nudged) {
    try {
      await captions.load();
    } catch (error) {
      if (error.status && error.status !== 503) get("saving").textContent = error.message;
    }
  }
  setTimeout(keepFresh, captions.isReading ? 2500 : 12_000);
}

keepFresh();
if (!matchMedia("(prefers-reduced-motion: reduce)").matches) player.play(true);
