// Videos and folders dropped onto the list: sent in parts, with a bar each; a connection that breaks goes on.

import { api, remaining, say } from "./page.js";

const PATIENCE_MS = 300_000;
const PAUSE_MS = 2000;
const AT_ONCE = 2;

const get = (id) => document.getElementById(id);
const zone = get("drop");
const list = get("uploads");
const waiting = [];
let running = 0;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const isPassing = (error) => [0, 408, 429, 502, 503, 504].includes(error.status);

const isHidden = (name) => name.startsWith(".");

class Line {
  constructor(name) {
    this.element = get("upload-line").content.cloneNode(true).firstElementChild;
    this.element.querySelector(".name").textContent = name;
    this.bar = this.element.querySelector("progress");
    this.bar.setAttribute("aria-label", `Upload of ${name}`);
    list.append(this.element);
    list.hidden = false;
  }

  show(fraction, words) {
    this.bar.value = Math.round(1000 * fraction);
    this.element.querySelector(".how").textContent = words;
  }

  end(words, isBad) {
    this.element.classList.toggle("bad", isBad);
    this.element.querySelector(".how").textContent = words;
    if (!isBad) setTimeout(() => this.element.remove(), 6000);
  }
}

// Tries again while the connection is away.
async function patiently(call, line) {
  const since = Date.now();
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!isPassing(error) || Date.now() - since > PATIENCE_MS) throw error;
      line.element.querySelector(".how").textContent = "The connection is away. Trying again …";
      await pause((error.retryAfter ?? 0) * 1000 || PAUSE_MS);
    }
  }
}

async function sendParts(file, id, { url, part_bytes }, line) {
  let sent = 0;
  const began = Date.now();
  while (sent < file.size) {
    const part = file.slice(sent, sent + part_bytes);
    try {
      const answer = await patiently(() => api("PUT", `${url}?offset=${sent}`, part), line);
      sent = (await answer.json()).received_bytes;
    } catch (error) {
      if (error.status !== 409) throw error;
      // An answer was lost: the part is there already.
      const known = await (await patiently(() => api("GET", `/videos/${id}/upload`), line)).json();
      if (known.received_bytes === sent) throw error;
      sent = known.received_bytes;
    }
    const left = ((Date.now() - began) / sent) * (file.size - sent);
    line.show(sent / file.size, `${Math.round((100 * sent) / file.size)} %${left > 3000 ? ` · ${remaining(left / 1000)} left` : ""}`);
  }
}

// One request straight to the bucket.
function sendWhole(file, { url, headers }, line) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("PUT", url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", ({ loaded }) => line.show(loaded / file.size, `${Math.round((100 * loaded) / file.size)} %`));
    const fail = () => failed(Object.assign(new Error("The storage cannot be reached."), { status: request.status }));
    request.addEventListener("error", fail);
    request.addEventListener("load", () => (request.status < 300 ? done() : fail()));
    request.send(file);
  });
}

async function upload(file, folder, line) {
  line.show(0, "0 %");
  try {
    const made = await patiently(() => api("POST", "/videos", { filename: file.name, size_bytes: file.size, folder }), line);
    const { id, upload: target } = await made.json();
    if (target.part_bytes) await sendParts(file, id, target, line);
    else await patiently(() => sendWhole(file, target, line), line);
    await patiently(() => api("POST", `/videos/${id}/uploaded`), line);
    line.show(1, "100 %");
    line.end("uploaded", false);
    document.dispatchEvent(new CustomEvent("captionacc-fresh"));
  } catch (error) {
    line.end(error.message, true);
  }
}

function next() {
  while (running < AT_ONCE && waiting.length) {
    const { file, folder, line } = waiting.shift();
    running++;
    upload(file, folder, line).finally(() => {
      running--;
      next();
    });
  }
}

// One line for all of a kind: every folder of a Mac has a hidden file.
function refuse(names, words) {
  if (!names.length) return;
  new Line(names.length === 1 ? names[0] : `${names[0]} and ${names.length - 1} more`).end(words, true);
}

function take({ files, hidden = [], unreadable = [] }) {
  for (const { file, folder } of files) {
    const line = new Line(file.name);
    if (file.size === 0) line.end("The file is empty.", true);
    else waiting.push({ file, folder, line });
  }
  refuse(hidden, "Hidden files and folders are not uploaded. To upload one, rename it without the dot.");
  refuse(unreadable, "This cannot be read.");
  const count = files.filter(({ file }) => file.size > 0).length;
  if (count > 1) say(`${count} files to upload.`);
  next();
}

function takePlain(files) {
  const named = [...files];
  take({
    files: named.filter((file) => !isHidden(file.name)).map((file) => ({ file, folder: "" })),
    hidden: named.map((file) => file.name).filter(isHidden),
  });
}

// What was dropped: files, those in folders too, each with its folder.
async function takeEntries(entries) {
  const found = { files: [], hidden: [], unreadable: [] };
  const walk = async (entry) => {
    if (isHidden(entry.name)) return found.hidden.push(entry.name);
    try {
      if (entry.isFile) {
        const file = await new Promise((done, failed) => entry.file(done, failed));
        return found.files.push({ file, folder: entry.fullPath.split("/").slice(1, -1).join("/") });
      }
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((done, failed) => reader.readEntries(done, failed));
        if (!some.length) return;
        for (const one of some) await walk(one);
      }
    } catch {
      found.unreadable.push(entry.name);
    }
  };
  for (const entry of entries) await walk(entry);
  take(found);
}

let depth = 0;
addEventListener("dragenter", (event) => {
  if (![...event.dataTransfer.types].includes("Files")) return;
  depth++;
  zone.classList.add("over");
});
addEventListener("dragleave", () => {
  depth = Math.max(0, depth - 1);
  if (!depth) zone.classList.remove("over");
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  zone.classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length) takeEntries(entries);
  else takePlain(event.dataTransfer.files);
});
get("files").addEventListener("change", () => {
  takePlain(get("files").files);
  get("files").value = "";
});
addEventListener("beforeunload", (event) => {
  if (running || waiting.length) event.preventDefault();
});
