// The uploaded video with its sound, the captions over it, and a loop of the selected one.

export class Film {
  // `moved(ms)` is called while it plays or is moved; `captionsAt(ms)` gives the captions to draw; `failed()` and
  // `silent()` say that the browser cannot play the pictures, or the sound.
  constructor(video, overlay, { moved, captionsAt, failed, silent }) {
    Object.assign(this, { video, overlay, moved, captionsAt });
    this.loop = null; // { from, to } in ms
    this.wanted = null;
    this.isSubstitute = false; // a small film that every browser plays
    video.addEventListener("error", () => video.getAttribute("src") && failed());
    video.addEventListener("seeked", () => this.draw());
    video.addEventListener("loadedmetadata", () => {
      // Of a codec that the browser does not know, some play the sound alone.
      if (!video.videoWidth) return failed();
      if (this.wanted !== null) this.seek(this.wanted);
    });
    video.addEventListener("timeupdate", () => this.isSilent && silent());
    for (const name of ["play", "pause"]) video.addEventListener(name, () => this.draw());
    this.tick();
  }

  // Loads the file on first use: who only reads text downloads no film.
  open(address) {
    if (!this.video.getAttribute("src")) this.video.src = address;
  }

  // Plays another file in place of one that the browser cannot play.
  substitute(address) {
    const wasPlaying = this.isPlaying;
    this.isSubstitute = true;
    this.wanted = this.ms;
    this.video.src = address;
    this.play(wasPlaying);
  }

  // Whether it has played for half a second, and no sound of it was decoded.
  get isSilent() {
    const { played, webkitAudioDecodedByteCount: decoded, mozHasAudio } = this.video;
    // Each seek begins another range, the first one often before anything is heard.
    let seconds = 0;
    for (let range = 0; range < played.length; range += 1) seconds += played.end(range) - played.start(range);
    return seconds > 0.5 && (decoded === 0 || mozHasAudio === false);
  }

  // Before the file has begun to arrive, the time that it will be moved to.
  get ms() {
    return this.video.readyState > 0 ? this.video.currentTime * 1000 : (this.wanted ?? 0);
  }

  get isPlaying() {
    return !this.video.paused;
  }

  // A little past the time, so that rounding does not show the frame before.
  seek(ms) {
    this.wanted = ms;
    if (this.video.readyState > 0) this.video.currentTime = ms / 1000 + 0.001;
  }

  play(on = !this.isPlaying) {
    if (on) this.video.play().catch(() => {});
    else this.video.pause();
  }

  draw() {
    const now = this.ms;
    const rows = this.captionsAt(now);
    const words = rows.map((row) => row.text).join("\n");
    if (this.overlay.textContent !== words) this.overlay.textContent = words;
    this.overlay.lang = rows[0]?.lang ?? "";
    this.moved(now);
  }

  tick() {
    if (this.isPlaying) {
      // The end is compared before the next frame is drawn: the caption after it does not flash.
      if (this.loop && (this.ms >= this.loop.to || this.ms < this.loop.from - 500)) this.seek(this.loop.from);
      this.draw();
    }
    requestAnimationFrame(() => this.tick());
  }
}
