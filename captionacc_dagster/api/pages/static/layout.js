// The caption region over a frame of the video: dragged and sized by mouse, touch and keys, or typed as numbers.

import { api, say } from "./page.js";

const SIDES = ["left", "top", "right", "bottom"];
const SMALLEST = 0.01;
const PATIENCE_MS = 120_000;

const root = document.getElementById("layout");
const layout = JSON.parse(root.dataset.layout);
const picture = root.querySelector(".picture");
const frame = document.getElementById("layout-frame");
const boxes = document.getElementById("layout-boxes");
const crop = document.getElementById("crop");
const form = document.getElementById("crop-form");
const allBoxes = document.getElementById("all-boxes");
const inputs = Object.fromEntries(SIDES.map((side) => [side, document.getElementById(`crop-${side}`)]));

const shade = document.createElementNS("http://www.w3.org/2000/svg", "path");
shade.setAttribute("class", "shade");

let region = toRegion(layout.region);
let shown = layout.best;

function toRegion([left, top, right, bottom]) {
  return { left, top, right, bottom };
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const rounded = (value) => Math.round(value * 1000) / 1000;

function moved(start, dx, dy) {
  const width = start.right - start.left;
  const height = start.bottom - start.top;
  const left = clamp(start.left + dx, 0, 1 - width);
  const top = clamp(start.top + dy, 0, 1 - height);
  return { left, top, right: left + width, bottom: top + height };
}

function sized(start, side, dx, dy) {
  const next = { ...start };
  if (side.includes("w")) next.left = clamp(start.left + dx, 0, start.right - SMALLEST);
  if (side.includes("e")) next.right = clamp(start.right + dx, start.left + SMALLEST, 1);
  if (side.includes("n")) next.top = clamp(start.top + dy, 0, start.bottom - SMALLEST);
  if (side.includes("s")) next.bottom = clamp(start.bottom + dy, start.top + SMALLEST, 1);
  return next;
}

function place(next, { numbers = true } = {}) {
  region = Object.fromEntries(SIDES.map((side) => [side, rounded(next[side])]));
  crop.style.left = `${region.left * 100}%`;
  crop.style.top = `${region.top * 100}%`;
  crop.style.width = `${(region.right - region.left) * 100}%`;
  crop.style.height = `${(region.bottom - region.top) * 100}%`;
  drawShade();
  if (numbers) for (const side of SIDES) inputs[side].value = (region[side] * 100).toFixed(1);
  const percent = (value) => `${Math.round(value * 100)} %`;
  crop.setAttribute(
    "aria-label",
    `Caption region: from ${percent(region.left)} to ${percent(region.right)} across, ` +
      `${percent(region.top)} to ${percent(region.bottom)} down`,
  );
}

// What lies outside of the region is dark.
function drawShade() {
  const [left, top, right, bottom] = SIDES.map((side) => region[side] * 1000);
  shade.setAttribute("d", `M0 0H1000V1000H0Z M${left} ${top}V${bottom}H${right}V${top}Z`);
}

function drawBoxes() {
  const own = layout.frames[shown].boxes;
  const groups = allBoxes.checked ? [[layout.boxes, " all"], [own, ""]] : [[own, ""]];
  boxes.replaceChildren(
    shade,
    ...groups.flatMap(([list, kind]) =>
      list.map(([left, top, right, bottom, isCaption]) => {
        const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        box.setAttribute("x", left * 1000);
        box.setAttribute("y", top * 1000);
        box.setAttribute("width", (right - left) * 1000);
        box.setAttribute("height", (bottom - top) * 1000);
        box.setAttribute("class", (isCaption ? "in" : "out") + kind);
        return box;
      }),
    ),
  );
}

function show(number) {
  shown = clamp(number, 0, layout.frames.length - 1);
  const { index } = layout.frames[shown];
  frame.src = `/review/videos/${layout.video}/full-frames/${index}.jpg`;
  document.getElementById("frame-number").textContent = `Frame ${shown + 1} of ${layout.frames.length}`;
  document.getElementById("frame-before").disabled = shown === 0;
  document.getElementById("frame-after").disabled = shown === layout.frames.length - 1;
  drawBoxes();
}

function beginDrag(event) {
  if (event.button > 0) return;
  event.preventDefault();
  crop.focus({ preventScroll: true });
  crop.setPointerCapture(event.pointerId);
  const side = event.target.dataset.side;
  const start = { ...region };
  const { clientX, clientY } = event;
  const { width, height } = picture.getBoundingClientRect();
  const drag = (move) => {
    const dx = (move.clientX - clientX) / width;
    const dy = (move.clientY - clientY) / height;
    place(side ? sized(start, side, dx, dy) : moved(start, dx, dy));
  };
  const end = () => {
    crop.removeEventListener("pointermove", drag);
    crop.classList.remove("dragged");
  };
  crop.classList.add("dragged");
  crop.addEventListener("pointermove", drag);
  crop.addEventListener("pointerup", end, { once: true });
  crop.addEventListener("pointercancel", end, { once: true });
}

function key(event) {
  const step = event.altKey ? 0.001 : 0.005;
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!way || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const [dx, dy] = way.map((part) => part * step);
  place(event.shiftKey ? sized(region, "se", dx, dy) : moved(region, dx, dy));
}

function typed() {
  const next = Object.fromEntries(SIDES.map((side) => [side, Number(inputs[side].value) / 100]));
  const valid = next.left < next.right && next.top < next.bottom;
  inputs.right.setCustomValidity(next.left < next.right ? "" : "The right edge must lie right of the left one.");
  inputs.bottom.setCustomValidity(next.top < next.bottom ? "" : "The bottom edge must lie below the top one.");
  if (valid && form.checkValidity()) place(next, { numbers: false });
}

// The machine may still be putting its things away when the layout is shown: it is asked again for a while.
async function approve(event) {
  event.preventDefault();
  const button = document.getElementById("approve");
  const body = {
    type: "crop-and-infer-caption-frame-extents",
    crop_region: Object.fromEntries(SIDES.map((side) => [`crop_${side}`, region[side]])),
  };
  const since = Date.now();
  button.disabled = true;
  for (;;) {
    try {
      await api("POST", `/videos/${layout.video}/actions/approve-layout`, body);
      say("Approved. The search for captions has started.");
      return setTimeout(() => location.reload(), 500);
    } catch (error) {
      if (error.status !== 409 || Date.now() - since > PATIENCE_MS) {
        say(error.message);
        button.disabled = false;
        return;
      }
      say("The machine still works on this video. Your approval waits …");
      await new Promise((done) => setTimeout(done, 2000));
    }
  }
}

picture.style.aspectRatio = `${layout.width} / ${layout.height}`;
picture.style.setProperty("--ratio", layout.width / layout.height);
crop.addEventListener("pointerdown", beginDrag);
crop.addEventListener("keydown", key);
for (const side of SIDES) inputs[side].addEventListener("input", typed);
form.addEventListener("submit", approve);
allBoxes.addEventListener("change", drawBoxes);
document.getElementById("frame-before").addEventListener("click", () => show(shown - 1));
document.getElementById("frame-after").addEventListener("click", () => show(shown + 1));
document.getElementById("crop-reset").addEventListener("click", () => place(toRegion(layout.found ?? layout.region)));
place(region);
show(shown);
