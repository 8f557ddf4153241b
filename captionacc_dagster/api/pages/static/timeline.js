// The timeline: captions as bars of their tracks, the waveform behind them, cuts as ticks, zoomed and dragged.

const EDGE_PX = 7; // how near a bar's edge the pointer resizes it
const CLICK_PX = 4;
const LANE_MIN = 12;
const MIN_SPAN_MS = 2000;
const HEIGHTS = { top: 0, bottom: 2 };
const TICK_PX = 5; // of a cut of the camera, at both edges

export class Timeline {
  // `parts`: rows(), times(row), current(), playhead(), durationMs, snap(ms), choose(id), retime(id, start, end, done), seek(ms).
  constructor(canvas, parts) {
    Object.assign(this, { canvas, parts });
    this.from = 0;
    this.span = null; // ms on display; null: everything
    this.peaks = null;
    this.cuts = []; // of the camera, ms
    this.drag = null;
    this.end = 1;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.hover(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("dblclick", (event) => this.parts.seek(this.msAt(event.offsetX)));
    // Reading the canvas's size here would force a layout of the page each time.
    [this.width, this.height] = [1, 0];
    new ResizeObserver(() => {
      [this.width, this.height] = [canvas.clientWidth || 1, canvas.clientHeight];
      this.paint();
    }).observe(canvas);
  }

  get shown() {
    return Math.min(this.span ?? this.end, this.end);
  }

  msAt(x) {
    return this.from + (x / this.width) * this.shown;
  }

  xAt(ms) {
    return ((ms - this.from) / this.shown) * this.width;
  }

  // Around the playhead, unless a place is given.
  zoom(factor, aroundX = Math.min(Math.max(0, this.xAt(this.parts.playhead())), this.width)) {
    const around = this.msAt(aroundX);
    const span = Math.max(MIN_SPAN_MS, this.shown * factor);
    this.span = span >= this.end ? null : span;
    this.moveTo(around - (aroundX / this.width) * this.shown);
  }

  moveTo(from) {
    this.from = Math.min(Math.max(0, from), Math.max(0, this.end - this.shown));
    this.draw();
  }

  // Keeps a time in view.
  reveal(start, end) {
    if (this.span === null || (start >= this.from && end <= this.from + this.shown)) return this.draw();
    this.moveTo((start + end) / 2 - this.shown / 2);
  }

  wheel(event) {
    event.preventDefault();
    if (event.ctrlKey || event.metaKey || Math.abs(event.deltaY) > Math.abs(event.deltaX)) {
      this.zoom(event.deltaY > 0 ? 1.25 : 0.8, event.offsetX);
    } else this.moveTo(this.from + (event.deltaX / this.width) * this.shown);
  }

  lanes() {
    // As in the picture, by each track's first caption; of equals, the earlier.
    const heights = new Map();
    for (const { track, position } of this.parts.rows()) if (!heights.has(track)) heights.set(track, HEIGHTS[position.split("-")[0]] ?? 1);
    const tracks = [...heights.keys()].sort((a, b) => heights.get(a) - heights.get(b));
    const height = Math.max(LANE_MIN, (this.height - 4) / Math.max(1, tracks.length));
    return { tracks, height };
  }

  // The caption at a point, and which part of it: "start", "end" or "middle".
  hit(x, y) {
    const { tracks, height } = this.lanes();
    const lane = tracks[Math.min(tracks.length - 1, Math.max(0, Math.floor((y - 2) / height)))];
    const candidates = this.parts.rows().filter((row) => row.track === lane);
    // The selected caption's edges win over its neighbor's.
    candidates.sort((a, b) => (b.id === this.parts.current()) - (a.id === this.parts.current()));
    for (const row of candidates) {
      const { start_ms, end_ms } = this.parts.times(row);
      const [left, right] = [this.xAt(start_ms), this.xAt(end_ms)];
      const wide = right - left > 3 * EDGE_PX;
      const reach = row.id === this.parts.current() ? EDGE_PX : 2;
      if (x < left - reach || x > right + reach) continue;
      const side = !wide ? "middle" : x - left <= EDGE_PX ? "start" : right - x <= EDGE_PX ? "end" : "middle";
      return { row, side };
    }
    return null;
  }

  hover(event) {
    if (this.drag) return this.move(event);
    const found = this.hit(event.offsetX, event.offsetY);
    const isCurrent = found?.row.id === this.parts.current();
    this.canvas.style.cursor = !found ? "pointer" : !isCurrent ? "pointer" : found.side === "middle" ? "grab" : "ew-resize";
  }

  begin(event) {
    if (event.button > 0) return;
    const found = this.hit(event.offsetX, event.offsetY);
    // Only the selected caption is dragged: a first press selects, so that nothing moves by accident.
    const isCurrent = found?.row.id === this.parts.current();
    this.drag = { x: event.offsetX, found, isCurrent, moved: false, from: this.from, times: found && { ...this.parts.times(found.row) } };
    this.canvas.setPointerCapture(event.pointerId);
    const end = (last) => {
      this.canvas.removeEventListener("pointerup", end);
      this.canvas.removeEventListener("pointercancel", end);
      this.finish(last);
    };
    this.canvas.addEventListener("pointerup", end);
    this.canvas.addEventListener("pointercancel", end);
  }

  move(event) {
    const { drag } = this;
    if (!drag.moved && Math.abs(event.offsetX - drag.x) < CLICK_PX) return;
    drag.moved = true;
    const by = ((event.offsetX - drag.x) / this.width) * this.shown;
    if (!drag.found || !drag.isCurrent) {
      // The ground is dragged along.
      if (this.span !== null) this.moveTo(drag.from - by);
      return;
    }
    const { start_ms, end_ms } = drag.times;
    const { snap, retime } = this.parts;
    const { row, side } = drag.found;
    if (side === "start") retime(row.id, snap(start_ms + by), end_ms, false, "start");
    else if (side === "end") retime(row.id, start_ms, snap(end_ms + by), false, "end");
    else {
      const start = snap(Math.max(0, start_ms + by));
      retime(row.id, start, snap(start + end_ms - start_ms), false, "start");
    }
  }

  finish(event) {
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    if (!drag.moved) {
      if (drag.found) this.parts.choose(drag.found.row.id);
      else this.parts.seek(this.msAt(event.offsetX));
    } else if (drag.found && drag.isCurrent) this.parts.retime(drag.found.row.id, null, null, true);
  }

  // Draws with the next frame, once, however many changes ask for it.
  draw() {
    this.end = this.parts.rows().reduce((end, row) => Math.max(end, row.end_ms), this.parts.durationMs ?? 0) || 1;
    this.planned ??= requestAnimationFrame(() => this.paint());
  }

  paint() {
    cancelAnimationFrame(this.planned);
    this.planned = null;
    const { canvas } = this;
    if (!this.height) return;
    const [from, perPixel] = [this.from, this.width / this.shown];
    const scale = devicePixelRatio;
    const [width, height] = [Math.round(this.width * scale), Math.round(this.height * scale)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const styles = getComputedStyle(document.documentElement);
    const colors = new Map();
    const pen = canvas.getContext("2d");
    let inked = null;
    const color = (name) => {
      if (name === inked) return;
      inked = name;
      if (!colors.has(name)) colors.set(name, styles.getPropertyValue(name));
      pen.fillStyle = colors.get(name);
    };
    color("--sunken");
    pen.fillRect(0, 0, width, height);
    this.drawWave(pen, color, width, height);
    const { tracks, height: lane } = this.lanes();
    const lanes = new Map(tracks.map((track, place) => [track, place]));
    for (const row of this.parts.rows()) {
      const { start_ms, end_ms } = this.parts.times(row);
      const [left, right] = [(start_ms - from) * perPixel * scale, (end_ms - from) * perPixel * scale];
      if (right < 0 || left > width) continue;
      const isCurrent = row.id === this.parts.current();
      color(isCurrent ? "--accent" : this.parts.isDoubtful(row) ? "--you" : row.state === "confirmed" ? "--good" : "--edge");
      const top = (2 + lanes.get(row.track) * lane + (isCurrent ? 1 : 4)) * scale;
      const tall = Math.max(3, lane - (isCurrent ? 2 : 8)) * scale;
      pen.globalAlpha = this.peaks && !isCurrent ? 0.8 : 1;
      pen.fillRect(left, top, Math.max(scale, right - left - scale), tall);
      pen.globalAlpha = 1;
    }
    color("--text");
    for (const cut of this.cuts) {
      const x = this.xAt(cut) * scale;
      if (x < 0 || x > width) continue;
      for (const y of [0, height - TICK_PX * scale]) pen.fillRect(Math.round(x - scale / 2), y, Math.max(1, scale), TICK_PX * scale);
    }
    color("--bad");
    const at = this.xAt(this.parts.playhead()) * scale;
    if (at >= 0 && at <= width) pen.fillRect(at - scale / 2, 0, Math.max(1, scale), height);
    canvas.dataset.from = Math.round(this.from);
    canvas.dataset.shown = Math.round(this.shown);
  }

  drawWave(pen, color, width, height) {
    if (!this.peaks) return;
    const { rate, values } = this.peaks;
    color("--line");
    const step = Math.max(1, devicePixelRatio);
    for (let x = 0; x < width; x += step) {
      const first = Math.floor((this.msAt(x / devicePixelRatio) / 1000) * rate);
      const last = Math.max(first + 1, Math.floor((this.msAt((x + step) / devicePixelRatio) / 1000) * rate));
      let peak = 0;
      for (let place = first; place < last && place < values.length; place++) peak = Math.max(peak, values[place]);
      const tall = (peak / 255) * height;
      pen.fillRect(x, (height - tall) / 2, step, tall);
    }
  }
}
