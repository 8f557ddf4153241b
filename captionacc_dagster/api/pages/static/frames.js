// The native frames of a video: when each begins, the two frames at each cut, and times as people write them.

import { api } from "./page.js";

// Frame `i` begins at `times[i]` whole milliseconds, rounded down as in the files.
export class FrameGrid {
  constructor(times, endMs) {
    this.times = times;
    this.endMs = endMs;
  }

  // A grid of even steps, until the true one has arrived.
  static even(rate, durationMs) {
    const count = Math.max(1, Math.floor(((durationMs ?? 0) * rate) / 1000 + 1e-6));
    return new FrameGrid(Int32Array.from({ length: count }, (_, number) => Math.floor((number * 1000) / rate + 1e-3)), durationMs);
  }

  static async load(video, durationMs) {
    const answer = await api("GET", `/videos/${video}/frames`);
    const { count, first_ms, step_ms, steps_ms } = await answer.json();
    const times = new Int32Array(count);
    if (steps_ms === null) {
      for (let number = 0; number < count; number++) times[number] = Math.floor(first_ms + number * (step_ms ?? 0) + 1e-3);
    } else {
      times[0] = Math.floor(first_ms);
      for (let number = 1; number < count; number++) times[number] = times[number - 1] + steps_ms[number - 1];
    }
    return new FrameGrid(times, durationMs);
  }

  get count() {
    return this.times.length;
  }

  // The usual time from frame to frame, milliseconds.
  get step() {
    return this.count > 1 ? (this.times[this.count - 1] - this.times[0]) / (this.count - 1) : 40;
  }

  // The first frame at or after a time; `count` if there is none.
  frameFrom(ms) {
    let [low, high] = [0, this.count];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] < ms) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // The frame on display at a time.
  shownAt(ms) {
    return Math.max(0, this.frameFrom(ms + 1) - 1);
  }

  msOf(frame) {
    if (frame < this.count) return this.times[Math.max(0, frame)];
    return Math.max(this.endMs ?? 0, this.times[this.count - 1] + 1);
  }

  // The beginning of the frame nearest to a time.
  nearest(ms) {
    const after = this.frameFrom(ms);
    const [before, next] = [this.msOf(after - 1), this.msOf(after)];
    return after > 0 && ms - before <= next - ms ? before : next;
  }
}

export function clock(ms) {
  const minutes = Math.floor(ms / 60000);
  const rest = ((ms % 60000) / 1000).toFixed(3).padStart(6, "0");
  const hours = Math.floor(minutes / 60);
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

// Milliseconds of "62.3", "1:02,300", "0:01:02:07" (the last are frames), "#1557" or "1557f"; null for anything else.
export function parseTime(written, grid) {
  const words = written.trim().replace(",", ".");
  const frame = words.match(/^(?:#\s*(\d+)|f\s*(\d+)|(\d+)\s*f)$/i);
  if (frame) return grid.msOf(Number(frame[1] ?? frame[2] ?? frame[3]));
  const code = words.match(/^(\d+):([0-5]?\d):([0-5]?\d)[:;](\d+)$/);
  if (code) {
    const [hours, minutes, seconds, frames] = code.slice(1).map(Number);
    return Math.round((hours * 3600 + minutes * 60 + seconds) * 1000 + frames * grid.step);
  }
  if (!/^(\d+:){0,2}\d+(\.\d*)?$/.test(words)) return null;
  const seconds = words.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
  return Math.round(seconds * 1000);
}

// Shows the last frame without and the first with the caption at its start, and the reverse at its end.
export class Cuts {
  constructor(root, { video, version }) {
    this.address = (frame) => `/videos/${video}/frames/${frame}?part=captions&v=${version}`;
    this.pictures = Object.fromEntries(
      [...root.querySelectorAll("[data-cut]")].map((figure) => [
        figure.dataset.cut,
        { picture: figure.querySelector("img"), number: figure.querySelector("b") },
      ]),
    );
    for (const { picture } of Object.values(this.pictures)) {
      picture.addEventListener("load", () => picture.classList.remove("coming"));
    }
  }

  show(start, end, count) {
    const wanted = { "start:before": start - 1, "start:first": start, "end:last": end - 1, "end:after": end };
    for (const [name, frame] of Object.entries(wanted)) {
      const { picture, number } = this.pictures[name];
      const exists = frame >= 0 && frame < count;
      number.textContent = exists ? frame : "–";
      picture.hidden = !exists;
      if (exists && picture.dataset.frame !== String(frame)) {
        picture.dataset.frame = frame;
        // Until it is there, the picture is that of another frame.
        picture.classList.add("coming");
        picture.src = this.address(frame);
      }
    }
  }
}
