// The captions of a video as this page knows them, and the changes on their way to the server: one after the other.

import { api } from "./page.js";

const LOCKED_PAUSE_MS = 2000;
const PATIENCE_MS = 90_000;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const sameTo = (a, b) => !!a && !!b && ["start_ms", "end_ms", "text", "state"].every((name) => a[name] === b[name]);

export class Captions {
  // `changed()` is called whenever rows changed, `saving(text)` while changes are under way, `failed(text)` when one was not made.
  constructor(video, { changed, saving, failed }) {
    this.base = `/videos/${video}/captions`;
    Object.assign(this, { changed, saving, failed });
    this.rows = [];
    this.tag = null;
    this.queue = [];
    this.running = false;
    // What this person can undo and redo, in words.
    this.undoLabel = null;
    this.redoLabel = null;
  }

  find(id) {
    return this.rows.find((row) => row.id === id);
  }

  get isBusy() {
    return this.running || this.queue.length > 0;
  }

  get isReading() {
    return this.rows.some((row) => row.typed_text === null && ["queued", "processing"].includes(row.ocr_status));
  }

  async load() {
    const headers = this.tag ? { "If-None-Match": this.tag } : {};
    const answer = await api("GET", this.base, undefined, headers);
    if (answer.status === 304) return false;
    this.tag = answer.headers.get("ETag");
    const { captions, undo_label, redo_label } = await answer.json();
    this.rows = captions;
    [this.undoLabel, this.redoLabel] = [undo_label, redo_label];
    this.changed();
    return true;
  }

  put(rows) {
    for (const row of rows) {
      const place = this.rows.findIndex((known) => known.id === row.id);
      if (row.state === "gap") {
        if (place >= 0) this.rows.splice(place, 1);
      } else if (place >= 0) this.rows[place] = row;
      else this.rows.push(row);
    }
    this.rows.sort((a, b) => a.start_ms - b.start_ms || a.end_ms - b.end_ms || a.id - b.id);
    this.changed();
  }

  // Removes the captions of a set of ids.
  drop(ids) {
    this.rows = this.rows.filter((row) => !ids.has(row.id));
    this.changed();
  }

  // Undoes this person's last change, or redoes the one undone last, after those that are on their way.
  step(direction, done) {
    this.change({ method: "POST", path: `:${direction}`, touched: [], done: (rows, label) => done(label, rows) });
  }

  // Shows a change at once and sends it: `touched` are the captions it was made for, `show` makes it here.
  change({ method, path, body, touched, show = () => {}, done = () => {} }) {
    const basis = touched.map((id) => ({ ...this.find(id) }));
    this.queue.push({ method, path, body, basis, done });
    show();
    if (!this.running) this.work();
  }

  async work() {
    this.running = true;
    while (this.queue.length) {
      const edit = this.queue[0];
      this.saving("Saving …");
      try {
        await this.send(edit);
        this.queue.shift();
      } catch (error) {
        // What follows was made on top of it.
        this.queue = [];
        this.tag = null;
        await this.load().catch(() => {});
        this.failed(edit.body?.text ? `${error.message} Your text was: “${edit.body.text}”` : error.message);
      }
    }
    this.running = false;
    this.saving("");
  }

  async send(edit) {
    const since = Date.now();
    for (;;) {
      try {
        const answer = await api(edit.method, this.base + edit.path, edit.body, this.tag ? { "If-Match": this.tag } : {});
        this.tag = answer.headers.get("ETag");
        const { captions, removed_ids, label, undo_label, redo_label } = await answer.json();
        [this.undoLabel, this.redoLabel] = [undo_label, redo_label];
        const later = new Set(this.queue.slice(1).flatMap((other) => other.basis.map((row) => row.id)));
        this.rows = this.rows.filter((row) => !removed_ids.includes(row.id));
        this.put(captions.filter((row) => !later.has(row.id)));
        edit.done(captions, label);
        return;
      } catch (error) {
        if (error.status === 412) {
          await this.rebase(edit);
        } else if (error.status === 423 && Date.now() - since < PATIENCE_MS) {
          this.saving("The machine, or somebody else, is changing these captions. Your change waits …");
          await pause(LOCKED_PAUSE_MS);
        } else if ([0, 429, 503].includes(error.status) && Date.now() - since < PATIENCE_MS / 3) {
          this.saving(`${error.message} Trying again …`);
          await pause((error.retryAfter ?? 2) * 1000);
        } else {
          throw error;
        }
      }
    }
  }

  // Somebody changed the captions meanwhile: the change still holds when those it was made for are as they were.
  async rebase(edit) {
    const answer = await api("GET", this.base);
    const { captions } = await answer.json();
    if (!edit.basis.every((row) => sameTo(captions.find((other) => other.id === row.id), row))) {
      throw new Error("Somebody else changed this caption meanwhile. It was read again, and your change was not made.");
    }
    this.tag = answer.headers.get("ETag");
  }
}
