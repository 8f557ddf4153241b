// The editor of captions: their own frames, the film, a timeline, a list, and keys for everything.

import { KINDS, doubtsOf, weightOf } from "./doubts.js";
import { Captions } from "./edits.js";
import { Film } from "./film.js";
import { Cuts, FrameGrid, clock, parseTime } from "./frames.js";
import { api, remaining, say } from "./page.js";
import { Player, Reels } from "./reels.js";
import { Timeline } from "./timeline.js";

const AROUND = 5; // cropped frames shown before and after a caption
const SETTLE_MS = 900; // after the last nudge
const NEW_MS = 2000; // length of an added caption
const SHORTEST_NEW_MS = 200;
const ASK_GAP_MS = 500; // merging over a longer gap is asked about

const get = (id) => document.getElementById(id);
const facts = JSON.parse(get("editor").dataset.editor);
const rowTemplate = get("row").content;
const list = get("captions");
const text = get("text");
// Cropped frames, of the close view.
const cropMs = (frame) => Math.round((frame * 1000) / facts.frameRate);
const cropOf = (ms) => Math.ceil((ms * facts.frameRate) / 1000 - 1e-6);

let grid = FrameGrid.even(facts.nativeRate || facts.frameRate, facts.durationMs);
let current = null; // id of the caption in hand
let held = null; // id of the caption that a person chose last
let early = null; // id of the caption that a person chose before the list was there
let nudged = null; // { id, start_ms, end_ms } not sent yet
let settling = 0;
let isFilm = false; // the film rather than the close view
const selected = new Set();
const elements = new Map();

// --- what is shown

const captions = new Captions(facts.video, {
  changed: () => draw(),
  saving: (words) => {
    get("saving").textContent = words;
    drawSteps();
  },
  failed: complain,
});

// Says why a change was not made, and shows the caption as it is.
function complain(words) {
  nudged = null;
  get("problem").textContent = words;
  get("problem").hidden = false;
  choose(current, { focus: false, force: true });
  draw();
}

const player = new Player(new Reels(facts), facts.frameRate, {
  screen: get("screen"),
  changed: ({ index, first, last, start, end, isPlaying, isInside }) => {
    get("screen").dataset.frame = index;
    get("screen").dataset.drawn = player.drawn;
    if (isFilm) return;
    const seek = get("seek");
    [seek.min, seek.max, seek.step] = [first, last, 1];
    seek.value = index;
    seek.setAttribute("aria-valuetext", `${clock(cropMs(index))}, ${isInside ? "inside" : "outside"}`);
    const span = Math.max(1, last - first);
    get("inside").style.left = `${(100 * (start - first)) / span}%`;
    get("inside").style.width = `${(100 * Math.max(0, end - 1 - start)) / span}%`;
    get("clock").textContent = clock(cropMs(index));
    get("outside").hidden = isInside;
    showPlaying(isPlaying);
    timeline?.draw();
  },
});

function showPlaying(isPlaying) {
  get("play").textContent = isPlaying ? "❚❚" : "▶";
  get("play").setAttribute("aria-pressed", isPlaying);
}

const film = new Film(get("film"), get("overlay"), {
  captionsAt: (ms) => captions.rows.filter((row) => times(row).start_ms <= ms && ms < times(row).end_ms && row.text),
  moved: (ms) => {
    if (!isFilm) return;
    const seek = get("seek");
    seek.value = ms;
    // Of the frame that is shown, as everywhere on the page.
    const at = clock(playhead());
    seek.setAttribute("aria-valuetext", at);
    get("clock").textContent = at;
    showPlaying(film.isPlaying);
    timeline.draw();
  },
  failed: () => prepareFilm("file"),
  silent: () => timeline.peaks && !film.isSubstitute && prepareFilm("sound"),
});

const FILM_LOOK_MS = 2000;
let preparing = false;

// A file that this browser cannot play: the server makes a small film of it, once, while the close view stays useful.
async function prepareFilm(what) {
  if (preparing) return;
  preparing = true;
  const note = get("no-film");
  note.hidden = false;
  const giveUp = (why) => {
    note.textContent = `This video's ${what} cannot be played here${why}.` + (what === "file" ? " The close view shows its frames." : "");
    if (what === "file") showFilm(false);
  };
  if (film.isSubstitute) return giveUp("");
  const first = `Your browser cannot play this video's ${what}. A small film of it is being prepared`;
  say(`${first}.`);
  for (;;) {
    let made;
    try {
      made = await (await api("POST", `/videos/${facts.video}/film`)).json();
    } catch (error) {
      if (error.status && ![429, 503].includes(error.status)) return giveUp(`: ${error.message}`);
      made = { state: "preparing", share: null };
    }
    if (made.state === "failed") return giveUp(`: ${made.reason}`);
    if (made.state === "ready") break;
    const left = made.left_s === null || made.share === null ? "" : `, ${remaining(made.left_s)} left`;
    note.textContent = first + (made.share === null ? " …" : `: ${Math.round(100 * made.share)} %${left}`);
    await new Promise((done) => setTimeout(done, FILM_LOOK_MS));
  }
  note.hidden = true;
  preparing = false;
  film.substitute(`/videos/${facts.video}/film`);
  return say("The film is ready.");
}

const cuts = new Cuts(get("form"), facts);

// The time that split, add and the timeline mean: of the native frame that is shown.
function playhead() {
  return grid.msOf(grid.shownAt(isFilm ? film.ms : cropMs(player.index)));
}

const timeline = new Timeline(get("timeline"), {
  rows: () => captions.rows,
  times,
  current: () => current,
  isDoubtful: (row) => weightOf(row) >= 2,
  playhead,
  durationMs: facts.durationMs,
  snap: (ms) => grid.nearest(ms),
  choose: (id) => choose(id, { focus: false }),
  seek: (ms) => seekTo(ms),
  retime: (id, start, end, isDone, side) => {
    if (isDone) return settle();
    if (id === current && start < end && grid.frameFrom(end) > grid.frameFrom(start)) propose(id, Math.max(0, start), end, side);
  },
});

function seekTo(ms) {
  if (isFilm) film.seek(ms);
  else {
    const at = captions.rows.find((row) => row.start_ms <= ms && ms < row.end_ms);
    if (at) {
      choose(at.id, { focus: false });
      player.step(Math.round((ms * facts.frameRate) / 1000) - player.index);
    } else {
      showFilm(true);
      film.seek(ms);
    }
  }
}

function showFilm(on) {
  if (on === isFilm) return;
  isFilm = on;
  get("film-view").hidden = !on;
  get("close-view").hidden = on;
  get("view").setAttribute("aria-pressed", on);
  get("loop-label").hidden = !on;
  get("inside").hidden = on;
  const row = captions.find(current);
  if (on) {
    player.play(false);
    film.open(`/videos/${facts.video}/media`);
    [get("seek").min, get("seek").max, get("seek").step] = [0, facts.durationMs ?? 0, "any"];
    film.seek(row ? row.start_ms : 0);
    loopCurrent();
    film.draw();
  } else {
    film.play(false);
    player.show(player.index);
  }
}

function loopCurrent() {
  const row = captions.find(current);
  film.loop = row && get("loop").checked ? { from: times(row).start_ms, to: times(row).end_ms } : null;
}

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

function drawRow(row) {
  let element = elements.get(row.id);
  if (!element) {
    element = rowTemplate.cloneNode(true).firstElementChild;
    element.querySelector("button").dataset.id = row.id;
    elements.set(row.id, element);
  }
  // Most rows are as they were: comparing is cheaper than writing.
  const isSelected = selected.has(row.id);
  if (element.row !== row || element.isCurrent !== (row.id === current) || element.isSelected !== isSelected) {
    [element.row, element.isCurrent, element.isSelected] = [row, row.id === current, isSelected];
    fillRow(element, row, isSelected);
  }
  return element;
}

function fillRow(element, row, isSelected) {
  const isRead = row.typed_text !== null || !["queued", "processing"].includes(row.ocr_status);
  const words = element.querySelector(".text");
  words.textContent = row.text || (isRead ? "no text" : "is being read …");
  words.classList.toggle("missing", !row.text);
  words.lang = row.lang ?? facts.lang ?? "";
  element.querySelector(".when").textContent = `${clock(row.start_ms)} – ${clock(row.end_ms)}`;
  const kind = row.kind ?? "caption";
  element.querySelector(".place").textContent = [kind === "caption" ? "" : KINDS[kind], placeOf(row)].filter(Boolean).join(", ");
  const doubts = doubtsOf(row);
  const mark = element.querySelector(".mark");
  mark.textContent = [row.state === "confirmed" ? "confirmed" : "", ...doubts.map((doubt) => doubt.words)].filter(Boolean).join(" · ");
  const about = new Set(doubts.filter((doubt) => doubt.weight >= 2).map((doubt) => doubt.about));
  element.className = [row.state, about.has("text") ? "doubtful" : "", about.has("times") ? "doubtful-times" : "", isSelected ? "selected" : ""].filter(Boolean).join(" ");
  element.querySelector("button").setAttribute("aria-current", row.id === current);
  element.querySelector("button").setAttribute("aria-pressed", isSelected);
  const picture = element.querySelector("img");
  const [first, last] = [cropOf(row.start_ms), Math.max(cropOf(row.start_ms) + 1, cropOf(row.end_ms)) - 1];
  const address = `/review/videos/${facts.video}/cropped-frames/${facts.version}/${Math.floor((first + last) / 2)}.jpg`;
  if (picture.dataset.src !== address) {
    picture.dataset.src = address;
    pictures.unobserve(picture);
    pictures.observe(picture);
  }
}

let hasTracks = false;
let isBegun = false; // the first rows are on the screen

// The track, where there are several.
function placeOf(row) {
  return hasTracks ? row.track : "";
}

function visible() {
  const openOnly = get("open-only").checked;
  const rows = captions.rows.filter((row) => !openOnly || row.state !== "confirmed" || row.id === current);
  if (!get("doubtful-first").checked) return rows;
  const weights = new Map(rows.map((row) => [row.id, weightOf(row)]));
  return rows.sort((a, b) => weights.get(b.id) - weights.get(a.id));
}

function draw() {
  const rows = visible();
  const ids = new Set(captions.rows.map((row) => row.id));
  hasTracks = captions.rows.some((row) => row.track !== captions.rows[0].track);
  const wanted = (isBegun ? rows : rows.slice(0, facts.firstRows)).map(drawRow);
  if (!isBegun && rows.length) {
    // The others when nothing else is to do, or soon.
    (window.requestIdleCallback ?? setTimeout)(
      () => {
        isBegun = true;
        draw();
      },
      { timeout: 500 },
    );
  }
  for (const [id, element] of elements) {
    if (!ids.has(id)) {
      element.remove();
      elements.delete(id);
      selected.delete(id);
    }
  }
  const shown = [...list.children];
  if (shown.some((element, place) => wanted[place] !== element)) list.replaceChildren(...wanted);
  else list.append(...wanted.slice(shown.length)); // what is there keeps the focus
  const confirmed = captions.rows.filter((row) => row.state === "confirmed").length;
  const doubtful = captions.rows.filter((row) => weightOf(row) > 0).length;
  get("progress").textContent = `${confirmed} of ${captions.rows.length} confirmed` + (doubtful ? ` · ${doubtful} to look at` : "");
  get("none").hidden = captions.rows.length > 0 || captions.tag === null;
  drawSteps();
  timeline.draw();
  const row = captions.find(current);
  if (!row) {
    if (rows.length) choose(captions.find(early) ? early : rows[0].id, { focus: false });
  } else drawHand(row);
}

function drawSteps() {
  for (const [name, label] of [["undo", captions.undoLabel], ["redo", captions.redoLabel]]) {
    get(name).disabled = label === null && !captions.isBusy && !nudged && !isTyping();
    get(name).title = label ? `${name === "undo" ? "Undo" : "Redo"} ${label}` : "";
  }
}

let handText = ""; // the caption's text when it was put into the field

function isTyping() {
  return text.value !== handText;
}

function times(row) {
  return nudged?.id === row.id ? nudged : row;
}

function drawHand(row) {
  const { start_ms, end_ms } = times(row);
  const [startFrame, endFrame] = [grid.frameFrom(start_ms), grid.frameFrom(end_ms)];
  for (const [side, ms, frame] of [["start", start_ms, startFrame], ["end", end_ms, endFrame]]) {
    const field = get(side);
    if (document.activeElement !== field || field.dataset.id !== String(row.id)) field.value = clock(ms);
    field.dataset.id = row.id;
    get(`${side}-frame`).textContent = `frame ${frame}`;
  }
  cuts.show(startFrame, endFrame, grid.count);
  get("length").textContent = `${((end_ms - start_ms) / 1000).toFixed(2)} s · ${endFrame - startFrame} frames`;
  get("doubts").textContent = doubtsOf({ ...row, start_ms, end_ms }).map((doubt) => doubt.words).join(" · ");
  for (const [name, value] of [["kind", row.kind ?? "caption"], ["track", row.track], ["position", row.position]]) {
    if (document.activeElement !== get(name) || get(name).dataset.id !== String(row.id)) get(name).value = value;
    get(name).dataset.id = row.id;
  }
  if (!isTyping()) text.value = handText = row.text;
  text.lang = row.lang ?? facts.lang ?? "";
  const [start, end] = [cropOf(start_ms), Math.max(cropOf(start_ms) + 1, cropOf(end_ms))];
  if (player.start !== start || player.end !== end || player.of !== row.id) {
    const keep = player.of === row.id;
    player.of = row.id;
    const most = facts.frameCount === null ? end - 1 + AROUND : facts.frameCount - 1;
    player.take({ start, end, first: Math.max(0, start - AROUND), last: Math.max(start, Math.min(most, end - 1 + AROUND)) }, { keep });
  }
  loopCurrent();
}

function choose(id, { focus = true, force = false } = {}) {
  const row = captions.find(id);
  if (!row) {
    // Chosen among the first rows before the whole list came.
    if (captions.tag === null) early = id;
    return;
  }
  const before = current;
  if (id !== current || force) {
    if (!force) {
      get("problem").hidden = true;
      keepText();
    }
    settle();
    current = id;
    text.value = handText = row.text;
    for (const other of [before, id]) {
      const known = captions.find(other);
      if (known && elements.has(other)) drawRow(known);
    }
    if (isFilm && before !== id) film.seek(row.start_ms);
  }
  drawHand(row);
  timeline.reveal(row.start_ms, row.end_ms);
  const next = captions.rows[captions.rows.indexOf(row) + 1];
  if (next) player.reels.prefetch(cropOf(next.start_ms), cropOf(next.start_ms) + 8);
  const button = elements.get(id)?.querySelector("button");
  button?.scrollIntoView({ block: "nearest" });
  if (focus) {
    held = id;
    button?.focus({ preventScroll: true });
  }
}

function move(by) {
  const rows = visible();
  const place = rows.findIndex((row) => row.id === current);
  const next = rows[Math.min(Math.max(place + by, 0), rows.length - 1)];
  if (next) choose(next.id);
}

function nextDoubtful() {
  const rows = visible();
  const place = rows.findIndex((row) => row.id === current);
  const next = [...rows.slice(place + 1), ...rows.slice(0, place)].find((row) => weightOf(row) > 0);
  if (next) choose(next.id);
  else say("Nothing else is doubtful.");
}

// --- changes

function patch(row, body, shown) {
  captions.change({
    method: "PATCH",
    path: `/${row.id}`,
    body,
    touched: [row.id],
    show: () => captions.put([{ ...captions.find(row.id), ...shown }]),
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
  patch(row, { text: typed }, { text: typed, typed_text: typed, state: "confirmed" });
  return true;
}

// Sends the times that were changed.
function settle() {
  clearTimeout(settling);
  const row = nudged && captions.find(nudged.id);
  if (!row) return false;
  const changed = {};
  for (const name of ["start_ms", "end_ms"]) if (nudged[name] !== row[name]) changed[name] = nudged[name];
  nudged = null;
  if (!Object.keys(changed).length) return false;
  // The person sees the text: a frame more or less needs no new reading.
  const said = row.text ? { text: row.text } : {};
  patch(row, { ...changed, ...said }, { ...changed, state: "confirmed", typed_text: row.text || null });
  return true;
}

// Shows new times at once; they are sent when no other change follows.
function propose(id, start_ms, end_ms, side) {
  nudged = { id, start_ms, end_ms };
  clearTimeout(settling);
  settling = setTimeout(settle, SETTLE_MS);
  player.play(false);
  drawHand(captions.find(id));
  player.show(side === "start" ? player.start : player.end - 1);
  if (isFilm) film.seek(side === "start" ? start_ms : grid.msOf(grid.frameFrom(end_ms) - 1));
  timeline.draw();
  get("undo").disabled = false;
}

function nudge(side, by) {
  const row = captions.find(current);
  if (!row) return;
  const now = { start_ms: times(row).start_ms, end_ms: times(row).end_ms };
  const frame = Math.min(Math.max(grid.frameFrom(now[`${side}_ms`]) + by, 0), grid.count);
  retime(side, grid.msOf(frame));
}

// Moves one side of the caption in hand to a time, at least one frame from the other side.
function retime(side, ms) {
  const row = captions.find(current);
  const now = { start_ms: times(row).start_ms, end_ms: times(row).end_ms, [`${side}_ms`]: ms };
  if (grid.frameFrom(now.start_ms) >= grid.frameFrom(now.end_ms)) return say("A caption lasts one frame at least.");
  propose(row.id, now.start_ms, now.end_ms, side);
}

function typeTime(side) {
  const field = get(side);
  const row = captions.find(current);
  if (!row || field.value === clock(times(row)[`${side}_ms`])) return;
  const ms = parseTime(field.value, grid);
  const isAfterEnd = ms !== null && facts.durationMs !== null && ms > facts.durationMs + 1000;
  if (ms === null || isAfterEnd) {
    say(isAfterEnd ? `The video ends at ${clock(facts.durationMs)}.` : "Type a time as 62.3, 1:02.300, 0:01:02:07, or a frame as #1557.");
    field.value = clock(times(row)[`${side}_ms`]);
    return;
  }
  retime(side, grid.nearest(ms));
  field.value = clock(times(row)[`${side}_ms`]);
}

// The captions that a command is for: those selected, or the one in hand.
function chosen() {
  const rows = captions.rows.filter((row) => selected.has(row.id));
  if (rows.length) return rows;
  const row = captions.find(current);
  return row ? [row] : [];
}

function confirmRows(rows) {
  const ids = rows.map((row) => row.id);
  captions.change({
    method: "POST",
    path: "/confirm",
    body: { caption_ids: ids },
    touched: ids,
    show: () => captions.put(rows.map((row) => ({ ...captions.find(row.id), state: "confirmed", text_pending: false }))),
  });
}

function confirm() {
  const row = captions.find(current);
  if (!row) return;
  const [typed, timed] = [keepText(), settle()];
  const many = selected.size > 0;
  const rows = chosen().filter((one) => one.state !== "confirmed" || one.text_pending);
  if ((many || (!typed && !timed)) && rows.length) confirmRows(rows);
  if (many) return clearSelection();
  const shown = visible();
  const place = shown.findIndex((other) => other.id === row.id);
  if (place + 1 < shown.length) choose(shown[place + 1].id);
  else say("That was the last caption.");
}

function split() {
  const row = captions.find(current);
  if (!row) return;
  if (player.isPlaying || film.isPlaying) {
    player.play(false);
    film.play(false);
    return say("Stopped. Go to the second caption's first frame, then split again.");
  }
  keepText();
  settle();
  const before = { ...captions.find(row.id) };
  const at = playhead();
  if (at <= before.start_ms || at >= before.end_ms) return say("Show the second caption's first frame, then split.");
  sendSplit(before, { at_ms: at });
}

// Letters of scripts that put spaces between words.
const SPACED = /(?![\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}])[\p{L}\p{M}\p{N}'’]/u;

// The end of a word that is nearest to a place within it; the place itself between words.
function wordEnd(written, at) {
  let [from, to] = [at, at];
  while (from > 0 && SPACED.test(written[from - 1])) from -= 1;
  while (to < written.length && SPACED.test(written[to])) to += 1;
  if (from === at || to === at) return at;
  // Marks alone are no half.
  const [before, after] = [written.slice(0, from), written.slice(to)].map((part) => /[\p{L}\p{N}]/u.test(part));
  return before && (!after || at - from <= to - at) ? from : to;
}

// Splits at the word at the cursor, and returns whether it could: both texts are as typed, the time follows from the share of the text.
function splitAtWord() {
  const row = captions.find(current);
  const at = wordEnd(text.value, text.selectionStart);
  const texts = [text.value.slice(0, at).trim(), text.value.slice(at).trim()];
  if (!row || !texts[0] || !texts[1]) return void say("Put the cursor between two words, then split.");
  text.value = handText;
  settle();
  const before = captions.find(row.id);
  const words = row.words?.length === text.value.trim().split(/\s+/).length ? row.words : [];
  const word = words[texts[0].split(/\s+/).length];
  const share = texts[0].length / (texts[0].length + texts[1].length);
  const onset = word ? 1000 * (word.highlight_start_s ?? word.start_s) : before.start_ms + share * (before.end_ms - before.start_ms);
  const first = grid.frameFrom(before.start_ms) + 1;
  const at_ms = grid.msOf(Math.min(Math.max(grid.frameFrom(onset), first), grid.frameFrom(before.end_ms) - 1));
  if (at_ms <= before.start_ms || at_ms >= before.end_ms) return void say("This caption is too short to be split.");
  sendSplit(before, { at_ms, texts });
  return true;
}

function sendSplit(before, body) {
  captions.change({
    method: "POST",
    path: `/${before.id}/split`,
    body,
    touched: [before.id],
    show: () => captions.put([{ ...before, end_ms: body.at_ms, state: "confirmed", ...(body.texts ? { text: body.texts[0], typed_text: body.texts[0] } : {}) }]),
    done: () => {
      say(body.texts || before.typed_text !== null ? "Split." : "Split. The machine reads both again.");
      text.value = handText = captions.find(before.id)?.text ?? "";
    },
  });
}

function joined(first, second) {
  if (first.includes(second)) return first;
  return second.includes(first) ? second : `${first} ${second}`;
}

async function merge() {
  keepText();
  settle();
  let rows = captions.rows.filter((row) => selected.has(row.id));
  if (rows.length < 2) {
    const row = captions.find(current);
    const next = row && captions.rows.slice(captions.rows.indexOf(row) + 1).find((other) => other.track === row.track);
    if (!next) return say("There is no caption after this one.");
    rows = [row, next];
  }
  if (rows.some((row) => row.track !== rows[0].track)) return say("Captions of different tracks cannot be merged.");
  const gap = Math.max(...rows.slice(1).map((row, place) => row.start_ms - Math.max(...rows.slice(0, place + 1).map((other) => other.end_ms))));
  if (gap >= ASK_GAP_MS && !(await ask(`There is a gap of ${(gap / 1000).toFixed(2)} s between them. Merge all the same?`, "Merge"))) return;
  const said = rows.every((row) => row.text) ? rows.map((row) => row.text).reduce(joined) : "";
  const [first, ...others] = rows;
  captions.change({
    method: "POST",
    path: "/merge",
    body: { caption_ids: rows.map((row) => row.id), ...(said ? { text: said } : {}) },
    touched: rows.map((row) => row.id),
    show: () => {
      current = first.id;
      captions.drop(new Set(others.map((row) => row.id)));
      const end_ms = Math.max(...rows.map((row) => row.end_ms));
      captions.put([{ ...first, end_ms, text: said || first.text, typed_text: said || null, state: "confirmed" }]);
    },
    done: () => say("Merged. Look at its text."),
  });
  clearSelection();
}

// Adds a caption at the time that is shown; inside the caption in hand, after it.
function add() {
  keepText();
  settle();
  const track = captions.find(current)?.track;
  const rows = captions.rows.filter((row) => track === undefined || row.track === track);
  let start = playhead();
  const inside = rows.find((row) => row.start_ms <= start && start < row.end_ms);
  if (inside) start = inside.end_ms;
  const next = rows.find((row) => row.start_ms >= start);
  const last = grid.msOf(grid.count);
  const end = grid.nearest(Math.min(start + NEW_MS, next ? next.start_ms : last));
  if (end - start < SHORTEST_NEW_MS) return say("There is no room for a caption here. Go to a moment without one.");
  sendNew({ start_ms: start, end_ms: end });
}

function sendNew(body, done = () => {}) {
  captions.change({
    method: "POST",
    path: "",
    body,
    touched: [],
    done: ([made]) => {
      choose(made.id, { focus: false });
      text.focus();
      say(body.text ? "Added." : "Added. Type its text, or wait: the machine reads it.");
      done();
    },
  });
}

function remove() {
  const row = captions.find(current);
  if (!row) return;
  text.value = handText;
  nudged = null;
  const gone = chosen();
  const ids = new Set(gone.map((one) => one.id));
  const rows = visible();
  const place = rows.findIndex((other) => other.id === row.id);
  const next = rows.slice(place + 1).find((other) => !ids.has(other.id)) ?? rows.slice(0, place).reverse().find((other) => !ids.has(other.id));
  captions.change({
    method: "POST",
    path: ":delete",
    body: { caption_ids: [...ids] },
    touched: [...ids],
    show: () => {
      current = next?.id ?? null;
      captions.drop(ids);
    },
  });
  clearSelection();
  say(gone.length === 1 ? "Deleted. Ctrl+Z brings it back." : `${gone.length} captions deleted. Ctrl+Z brings them back.`);
  if (next) choose(next.id, { force: true });
}

function step(direction) {
  if (direction === "undo" && isTyping()) {
    text.value = handText;
    return drawSteps();
  }
  settle();
  if (!captions.isBusy && (direction === "undo" ? captions.undoLabel : captions.redoLabel) === null) {
    return say(`There is nothing to ${direction}.`);
  }
  text.value = handText;
  const before = new Set(captions.rows.map((row) => row.id));
  captions.step(direction, (label, rows) => {
    say(`${direction === "undo" ? "Undone" : "Redone"}: ${label}.`);
    // What is back is shown; otherwise the person stays where they are.
    const back = rows.find((row) => row.state !== "gap" && !before.has(row.id));
    if (back && back.id !== current) choose(back.id, { focus: false, force: true });
    const row = captions.find(current);
    if (row) {
      text.value = handText = row.text;
      drawHand(row);
    }
  });
}

function place(field, value) {
  const rows = chosen().filter((row) => row[field] !== value);
  for (const row of rows) patch(row, { [field]: value }, { [field]: value, state: "confirmed" });
}

// --- several selected

function toggle(id, isRange) {
  const rows = visible();
  if (isRange) {
    const [from, to] = [current, id].map((one) => rows.findIndex((row) => row.id === one)).sort((a, b) => a - b);
    for (const row of rows.slice(Math.max(0, from), to + 1)) selected.add(row.id);
  } else if (!selected.delete(id)) {
    if (!selected.size && current !== null) selected.add(current);
    selected.add(id);
  }
  drawSelection();
}

function clearSelection() {
  selected.clear();
  drawSelection();
}

function drawSelection() {
  for (const row of visible()) drawRow(row);
  get("selection").textContent = selected.size ? `${selected.size} selected: C confirms, M merges, Del deletes, Esc ends` : "";
}

// --- search and replace

const searching = get("replace");

async function findReplacements(preview) {
  const body = {
    search: get("search").value,
    replacement: get("replacement").value,
    match_case: get("match-case").checked,
    whole_word: get("whole-word").checked,
    ...(selected.size ? { caption_ids: [...selected] } : {}),
  };
  if (preview) {
    const found = get("found");
    if (!body.search) return found.replaceChildren();
    try {
      const answer = await api("POST", `/videos/${facts.video}/captions:replace`, { ...body, preview: true });
      const { captions: changed } = await answer.json();
      if (body.search !== get("search").value || body.replacement !== get("replacement").value) return undefined;
      get("found-count").textContent = changed.length === 1 ? "1 caption changes" : `${changed.length} captions change`;
      found.replaceChildren(
        ...changed.slice(0, 100).map((row) => {
          const item = document.createElement("li");
          for (const [tag, words] of [["del", captions.find(row.id)?.text ?? ""], ["ins", row.text]]) {
            const part = document.createElement(tag);
            part.textContent = words;
            part.dir = "auto";
            item.append(part);
          }
          return item;
        }),
      );
      get("replace-all").disabled = changed.length === 0;
    } catch (error) {
      get("found-count").textContent = error.message;
      get("replace-all").disabled = true;
    }
    return undefined;
  }
  searching.close();
  captions.change({
    method: "POST",
    path: ":replace",
    body,
    touched: [],
    done: (rows) => say(rows.length === 1 ? "Replaced in 1 caption." : `Replaced in ${rows.length} captions.`),
  });
  return undefined;
}

function openReplace() {
  keepText();
  settle();
  get("found").replaceChildren();
  get("found-count").textContent = selected.size ? `In ${selected.size} selected captions` : "In all captions";
  get("replace-all").disabled = true;
  searching.showModal();
  get("search").select();
}

let typing = 0;
for (const id of ["search", "replacement", "match-case", "whole-word"]) {
  get(id).addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => findReplacements(true), 200);
  });
}
get("replace-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!get("replace-all").disabled) findReplacements(false);
});
get("replace-cancel").addEventListener("click", () => searching.close());

// --- questions

function ask(question, yes) {
  const dialog = get("ask");
  get("ask-question").textContent = question;
  get("ask-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

// --- compare with a file

// The change that makes a caption as the file has it.
function takeFrom(one) {
  const [start_ms, end_ms] = [grid.nearest(one.start_ms), grid.nearest(one.end_ms)];
  const row = captions.find(one.caption_id);
  if (one.what === "missing") {
    captions.change({ method: "POST", path: "", body: { start_ms, end_ms, text: one.text }, touched: [] });
  } else if (one.what === "extra") {
    captions.change({ method: "DELETE", path: `/${one.caption_id}`, touched: [one.caption_id], show: () => captions.drop(new Set([one.caption_id])) });
  } else if (row) {
    const body = { text: one.text, ...(one.what.includes("times") ? { start_ms, end_ms } : {}) };
    patch(row, body, { ...body, typed_text: one.text, state: "confirmed" });
  }
}

const WHAT = {
  missing: ["missing here", "Add"], extra: ["not in the file", "Delete"], text: ["other text", "Take text"],
  times: ["other times", "Take times"], "text and times": ["other text and times", "Take both"],
};

async function compare(file) {
  const ending = file.name.split(".").pop().toLowerCase();
  const format = ending === "ssa" ? "ass" : ending;
  if (!["srt", "vtt", "ass", "json"].includes(format)) return say(`${file.name} is not named like a subtitle file: SRT, VTT, ASS, SSA, or JSON.`);
  const body = { format, content: await file.text() };
  let found;
  try {
    found = await (await api("POST", `/videos/${facts.video}/captions:compare`, body)).json();
  } catch (error) {
    return say(`${file.name}: ${error.message.replace(/^subtitles:(\d+): /, "line $1: ")}`);
  }
  const { same, differences } = found;
  get("compare-count").textContent = `${same} captions are the same; ${differences.length} differ from ${file.name}.`;
  const open = new Map();
  get("compare-list").replaceChildren(
    ...differences.map((one) => {
      const item = document.createElement("li");
      const [words, command] = WHAT[one.what];
      const about = document.createElement("span");
      about.className = "faint";
      about.textContent = `${clock(one.start_ms)} – ${clock(one.end_ms)}: ${words}`;
      const parts = [about];
      const own = captions.find(one.caption_id)?.text;
      for (const [tag, text_] of [["del", own], ["ins", one.what === "extra" ? null : one.text]]) {
        if (!text_ || (tag === "del" && !one.what.includes("text") && one.what !== "extra")) continue;
        const part = document.createElement(tag);
        part.textContent = text_;
        part.dir = "auto";
        parts.push(part);
      }
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet";
      button.textContent = command;
      const take = () => {
        if (button.disabled) return;
        button.disabled = true;
        takeFrom(one);
      };
      open.set(one, take);
      button.addEventListener("click", take);
      item.append(...parts, button);
      return item;
    }),
  );
  get("take-all").disabled = differences.length === 0;
  get("take-all").onclick = () => {
    for (const take of open.values()) take();
    get("compare").close();
  };
  get("compare").showModal();
  return undefined;
}

get("compare-file").addEventListener("change", () => {
  const [file] = get("compare-file").files;
  get("compare-file").value = "";
  if (file) compare(file);
});

// --- text that became no caption

async function showLeftOut() {
  const answer = await api("GET", `/videos/${facts.video}/left-out`).catch(() => null);
  if (!answer) return;
  const { places } = await answer.json();
  get("left-out").hidden = places.length === 0;
  get("left-out-count").textContent = places.length;
  get("left-out-list").replaceChildren(
    ...places.map((one) => {
      const item = document.createElement("li");
      const words = document.createElement("span");
      words.dir = "auto";
      words.textContent = one.text || "text";
      const facts_ = document.createElement("span");
      facts_.className = "faint";
      const from = one.start_ms ?? 0;
      const to = one.end_ms ?? facts.durationMs ?? grid.msOf(grid.count);
      facts_.textContent = `taken for ${KINDS[one.kind]}, ${clock(from)} – ${clock(to)}`;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet";
      button.textContent = "Make it a caption";
      button.addEventListener("click", () => {
        button.disabled = true;
        sendNew({ start_ms: grid.nearest(from), end_ms: grid.nearest(to), ...(one.text ? { text: one.text } : {}) });
      });
      item.append(words, facts_, button);
      return item;
    }),
  );
}

// --- keys and buttons

const togglePlay = () => (isFilm ? film.play() : player.play());

function stepFrame(by) {
  if (!isFilm) return player.step(by);
  film.play(false);
  return film.seek(grid.msOf(grid.shownAt(film.ms) + by));
}

const KEYS = {
  j: () => move(1), ArrowDown: () => move(1),
  k: () => move(-1), ArrowUp: () => move(-1),
  c: confirm,
  e: () => text.focus(), Enter: () => text.focus(),
  a: (by) => nudge("start", -by), s: (by) => nudge("start", by),
  d: (by) => nudge("end", -by), f: (by) => nudge("end", by),
  x: split, m: merge, n: add, Delete: remove, Backspace: remove, u: () => step("undo"),
  q: nextDoubtful, r: openReplace,
  v: () => showFilm(!isFilm),
  l: () => {
    get("loop").checked = !get("loop").checked;
    showFilm(true);
    loopCurrent();
  },
  " ": togglePlay,
  ",": () => stepFrame(-1), ".": () => stepFrame(1),
  "+": () => timeline.zoom(0.5), "-": () => timeline.zoom(2),
  Escape: clearSelection,
};

document.addEventListener("keydown", (event) => {
  const target = event.target;
  const inText = target === text || (target.matches("input, select") && !["checkbox", "range"].includes(target.type));
  if (document.querySelector("dialog[open]") || event.altKey) return;
  if (event.ctrlKey || event.metaKey) {
    const key = event.key.toLowerCase();
    const direction = key === "y" || (key === "z" && event.shiftKey) ? "redo" : key === "z" ? "undo" : null;
    // What is being typed is the browser's to undo.
    if (direction === null || (inText && (target !== text || isTyping()))) return;
    event.preventDefault();
    return step(direction);
  }
  if (inText) return;
  if (event.key === "?") return get("help").showModal();
  // Buttons and sliders have some keys themselves; a caption in the list gives them to us.
  if ([" ", "Enter"].includes(event.key) && target.matches("button:not(.caption), summary, a, [type=checkbox]")) {
    return;
  }
  if (event.key === " " && target.matches(".caption") && event.shiftKey) {
    event.preventDefault();
    return toggle(Number(target.dataset.id), false);
  }
  if (event.key.startsWith("Arrow") && target.matches("[type=range]")) return;
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!(name in KEYS) || (!get("keys-on").checked && name.length === 1 && name !== " ")) return;
  event.preventDefault();
  KEYS[name](event.shiftKey ? 10 : 1);
});

text.addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  if (event.key === "Escape") text.value = handText;
  else if (event.key !== "Enter" || event.shiftKey) return;
  else if (event.ctrlKey || event.metaKey) {
    event.preventDefault();
    // The keys then move the new boundary; a text that was not split is left for another try.
    if (!splitAtWord()) return;
  } else keepText();
  event.preventDefault();
  choose(current);
});
text.addEventListener("input", drawSteps);

get("form").addEventListener("submit", (event) => {
  event.preventDefault();
  confirm();
});
for (const button of document.querySelectorAll("[data-nudge]")) {
  const [side, by] = button.dataset.nudge.split(":");
  button.addEventListener("click", (event) => nudge(side, Number(by) * (event.shiftKey ? 10 : 1)));
}
for (const side of ["start", "end"]) {
  const field = get(side);
  field.addEventListener("focus", () => field.select());
  field.addEventListener("change", () => typeTime(side));
  field.addEventListener("keydown", (event) => {
    const row = captions.find(current);
    if (!row || !["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    if (event.key === "Enter") typeTime(side);
    else field.value = clock(times(row)[`${side}_ms`]);
    choose(current);
  });
}
const COMMANDS = {
  split, merge, add, delete: remove, undo: () => step("undo"), redo: () => step("redo"), play: togglePlay,
  "open-replace": openReplace, "next-doubtful": nextDoubtful, view: () => showFilm(!isFilm),
  "zoom-in": () => timeline.zoom(0.5), "zoom-out": () => timeline.zoom(2),
};
// On a phone, the timeline, the frames at the cuts, and what else is rarely needed are folded away.
get("more").addEventListener("click", () => {
  const isWhole = document.querySelector(".desk").classList.toggle("whole");
  get("more").setAttribute("aria-expanded", isWhole);
  get("more").textContent = isWhole ? "Less" : "More";
  timeline.draw();
});
for (const [id, act] of Object.entries(COMMANDS)) get(id).addEventListener("click", act);
for (const field of ["kind", "track", "position"]) get(field).addEventListener("change", () => get(field).value.trim() && place(field, get(field).value.trim()));
get("seek").addEventListener("input", () => {
  const value = Number(get("seek").value);
  if (isFilm) return film.seek(value);
  player.play(false);
  player.show(value);
});
get("screen").addEventListener("click", togglePlay);
get("film").addEventListener("click", togglePlay);
get("loop").addEventListener("change", loopCurrent);
list.addEventListener("click", (event) => {
  const button = event.target.closest(".caption");
  if (!button) return;
  const id = Number(button.dataset.id);
  if (event.shiftKey || event.ctrlKey || event.metaKey) return toggle(id, event.shiftKey);
  // A second click, or tap, is for its text; not the first on the one that the page chose.
  if (id === current && held === id) text.focus();
  else choose(id);
});
for (const id of ["open-only", "doubtful-first"]) get(id).addEventListener("change", draw);
get("help-button").addEventListener("click", () => get("help").showModal());
get("keys-on").checked = localStorage.getItem("captionacc-keys") !== "off";
get("keys-on").addEventListener("change", () => localStorage.setItem("captionacc-keys", get("keys-on").checked ? "on" : "off"));
addEventListener("beforeunload", (event) => {
  if (captions.isBusy || isTyping() || nudged) event.preventDefault();
});

let refreshing = null;

async function look() {
  try {
    await captions.load();
  } catch (error) {
    if (error.status && error.status !== 503) get("saving").textContent = error.message;
  }
  refreshing = null;
}

function refresh() {
  if (document.hidden || captions.isBusy || nudged) return refreshing;
  refreshing ??= look();
  return refreshing;
}

// Events tell of changes within a second; looking now and then covers a proxy that holds them back.
async function keepFresh() {
  await refresh();
  setTimeout(keepFresh, captions.isReading ? 2500 : 12_000);
}

// What came with the page, while the whole list is on its way.
if (!get("open-only").checked && !get("doubtful-first").checked) list.replaceChildren(...facts.first.map(drawRow));
keepFresh().then(showLeftOut);
api("GET", `/videos/${facts.video}/waveform`)
  .then((answer) => answer.arrayBuffer())
  .then((bytes) => {
    if (!bytes.byteLength) return;
    timeline.peaks = { rate: 50, values: new Uint8Array(bytes) };
    get("timeline").dataset.wave = "drawn";
    timeline.draw();
  })
  .catch(() => {}); // A silent timeline is one too.
api("GET", `/videos/${facts.video}/shots`)
  .then((answer) => answer.json())
  .then(({ cuts_ms }) => {
    timeline.cuts = cuts_ms ?? [];
    get("timeline").dataset.cuts = timeline.cuts.length;
    timeline.draw();
  })
  .catch(() => {}); // The editor works without them.
const events = new EventSource(`/videos/${facts.video}/events`);
events.addEventListener("captions", (event) => {
  if (JSON.parse(event.data).tag !== captions.tag) refresh();
});
addEventListener("pagehide", () => events.close());
FrameGrid.load(facts.video, facts.durationMs).then(
  (loaded) => {
    grid = loaded;
    get("editor").dataset.grid = "exact";
    draw();
  },
  // Without the film, frames are counted by the video's rate.
  () => (get("editor").dataset.grid = "even"),
);
if (!matchMedia("(prefers-reduced-motion: reduce)").matches) player.play(true);
