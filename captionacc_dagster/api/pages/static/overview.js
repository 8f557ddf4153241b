// All captions along the video: their times, which are confirmed, and which is selected.

const endOf = (rows, durationMs) => rows.reduce((end, row) => Math.max(end, row.end_ms), durationMs ?? 0);

export function drawOverview(canvas, rows, durationMs, current) {
  if (!canvas.clientWidth || !rows.length) return;
  const end = endOf(rows, durationMs);
  const scale = devicePixelRatio;
  [canvas.width, canvas.height] = [canvas.clientWidth * scale, canvas.clientHeight * scale];
  const colors = getComputedStyle(document.documentElement);
  const pen = canvas.getContext("2d");
  const color = (name) => (pen.fillStyle = colors.getPropertyValue(name));
  color("--sunken");
  pen.fillRect(0, 0, canvas.width, canvas.height);
  for (const row of rows) {
    const x = (row.start_ms / end) * canvas.width;
    const width = Math.max(scale, ((row.end_ms - row.start_ms) / end) * canvas.width - scale);
    color(row.id === current ? "--accent" : row.state === "confirmed" ? "--good" : "--edge");
    const inset = row.id === current ? 0 : 6 * scale;
    pen.fillRect(x, inset, width, canvas.height - 2 * inset);
  }
}

// Gives the caption nearest to a place of the picture, or undefined.
export function nearestAt(canvas, rows, durationMs, clientX) {
  const { left, width } = canvas.getBoundingClientRect();
  const at = ((clientX - left) / width) * endOf(rows, durationMs);
  const distance = (row) => Math.max(row.start_ms - at, at - row.end_ms, 0);
  return [...rows].sort((a, b) => distance(a) - distance(b))[0];
}
