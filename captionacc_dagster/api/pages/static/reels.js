// Plays cropped frames: reels are pictures of 32 frames each, drawn tile by tile, so that each frame is exactly the stored one.

export class Reels {
  constructor({ video, version, reelFrames, reelColumns }) {
    this.address = `/review/videos/${video}/reels/${version}`;
    this.frames = reelFrames;
    this.columns = reelColumns;
    this.rows = reelFrames / reelColumns;
    this.loaded = new Map();
  }

  // Gives the picture of a reel; the few used last are kept.
  load(number) {
    const known = this.loaded.get(number);
    if (known) {
      this.loaded.delete(number);
      this.loaded.set(number, known);
      return known;
    }
    const picture = new Image();
    picture.decoding = "async";
    const entry = { picture, ready: false };
    // Not decode(), which may wait until the browser shows the page.
    entry.done = new Promise((done) => {
      picture.onload = () => done((entry.ready = true));
      picture.onerror = () => {
        setTimeout(() => this.loaded.delete(number), 3000);
        done(false);
      };
    });
    picture.src = `${this.address}/${number}.jpg`;
    this.loaded.set(number, entry);
    if (this.loaded.size > 12) this.loaded.delete(this.loaded.keys().next().value);
    return entry;
  }

  prefetch(first, last) {
    for (let number = Math.floor(first / this.frames); number <= Math.floor(last / this.frames); number++) this.load(number);
  }

  // Resolves to whether the reel with a frame came.
  ready(index) {
    return this.load(Math.floor(index / this.frames)).done;
  }

  // Draws one frame; false while its reel is not there yet.
  draw(canvas, index) {
    const { picture, ready } = this.load(Math.floor(index / this.frames));
    if (!ready) return false;
    const width = picture.naturalWidth / this.columns;
    const height = picture.naturalHeight / this.rows;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const place = index % this.frames;
    const x = (place % this.columns) * width;
    const y = Math.floor(place / this.columns) * height;
    canvas.getContext("2d").drawImage(picture, x, y, width, height, 0, 0, width, height);
    return true;
  }
}

// Shows the frames of one caption and a few around it, in a loop or one at a time.
export class Player {
  constructor(reels, frameRate, parts) {
    this.reels = reels;
    this.frameRate = frameRate;
    this.parts = parts;
    this.first = 0;
    this.last = 0;
    this.start = 0;
    this.end = 0;
    this.index = 0;
    this.isPlaying = false;
    this.shownAt = 0;
    requestAnimationFrame((now) => this.tick(now));
  }

  // Loops over the frames start..end-1 (the caption's own) with those around it, first..last.
  take({ start, end, first, last }, { keep = false } = {}) {
    Object.assign(this, { start, end, first, last });
    this.index = keep ? Math.min(Math.max(this.index, first), last) : start;
    this.reels.prefetch(first, Math.min(last, first + 3 * this.reels.frames));
    this.show(this.index);
  }

  show(index) {
    this.index = Math.min(Math.max(index, this.first), this.last);
    this.draw();
    // Do not wait for an animation frame: a browser gives few, or none, while the page is not visible.
    if (!this.drawn) this.reels.ready(this.index).then((came) => came && !this.drawn && this.draw());
  }

  draw() {
    this.drawn = this.reels.draw(this.parts.screen, this.index);
    this.parts.changed(this);
  }

  step(by) {
    this.play(false);
    this.show(this.index + by);
  }

  play(on = !this.isPlaying) {
    this.isPlaying = on;
    this.parts.changed(this);
  }

  get isInside() {
    return this.index >= this.start && this.index < this.end;
  }

  tick(now) {
    if (!this.drawn) {
      this.drawn = this.reels.draw(this.parts.screen, this.index); // one that failed is asked for again
      if (this.drawn) this.parts.changed(this);
    } else if (this.isPlaying && now - this.shownAt >= 1000 / this.frameRate - 4) {
      this.shownAt = now;
      this.show(this.index >= this.last ? this.first : this.index + 1);
    }
    requestAnimationFrame((next) => this.tick(next));
  }
}
