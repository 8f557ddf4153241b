// What every page does: calls of the API in this session, parts that keep themselves fresh, times in the person's own zone.

const meta = document.querySelector('meta[name="csrf-token"]');

export class ApiError extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export function say(text) {
  const said = document.getElementById("said");
  said.textContent = text;
  said.classList.add("shown");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => said.classList.remove("shown"), 4000);
}

export function remaining(seconds) {
  if (seconds < 55) return `about ${Math.max(5, 5 * Math.round(seconds / 5))} s`;
  return seconds < 5400 ? `about ${Math.round(seconds / 60)} min` : `about ${Math.round(seconds / 3600)} h`;
}

async function send(method, path, body, headers) {
  const options = { method, headers: { ...headers }, credentials: "same-origin" };
  if (method !== "GET") options.headers["X-CSRF-Token"] = meta.content;
  if (body instanceof Blob) {
    options.headers["Content-Type"] = "application/octet-stream";
    options.body = body;
  } else if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  try {
    return await fetch(path, options);
  } catch {
    throw new ApiError(0, "The server cannot be reached. Nothing was changed.");
  }
}

let renewing = null;

// One renewal for all calls that find the session ended at the same time.
function renew() {
  renewing ??= send("POST", "/review/session").finally(() => setTimeout(() => (renewing = null), 1000));
  return renewing;
}

export async function api(method, path, body, headers = {}) {
  let answer = await send(method, path, body, headers);
  if (answer.status === 401 && (await renew()).ok) answer = await send(method, path, body, headers);
  if (answer.status === 401) {
    location.assign(`/review/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  if (answer.ok || answer.status === 304) return answer;
  let detail = `The server answered ${answer.status}.`;
  try {
    const found = (await answer.json()).detail;
    if (typeof found === "string") detail = found;
    else if (Array.isArray(found) && found.length) detail = found.map((one) => one.msg).join("; ");
  } catch {
    // No JSON: the status has to do.
  }
  throw new ApiError(answer.status, detail, Number(answer.headers.get("Retry-After")) || null);
}

export function localTimes(root = document) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    localTimes.format ??= new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
    if (!Number.isNaN(at.getTime())) element.textContent = localTimes.format.format(at);
  }
}

async function refresh(area) {
  // Nor while a person fills in a dialog, which a new page would take away.
  if (document.hidden || document.querySelector("dialog[open]") || area.contains(document.querySelector("button[aria-busy=true]"))) return;
  const answer = await fetch(area.dataset.fresh, { credentials: "same-origin" });
  if (answer.redirected && new URL(answer.url).pathname === "/review/sign-in") {
    if (!(await renew()).ok) location.reload();
    return;
  }
  if (!answer.ok) return;
  const text = await answer.text();
  if (text === area.lastText) return;
  const first = area.lastText === undefined;
  area.lastText = text;
  const parsed = new DOMParser().parseFromString(text, "text/html");
  const before = area.querySelector("[data-place]")?.dataset;
  const after = parsed.querySelector("[data-place]")?.dataset;
  if (before && after && after.place !== before.place && "reload" in area.dataset) return location.reload();
  if (first && !after && area.innerHTML.trim() === parsed.body.innerHTML.trim()) return;
  const focused = area.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  area.replaceChildren(...parsed.body.childNodes);
  localTimes(area);
  if (focused) area.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
  if (after && before && after.label !== before.label) say(after.label);
}

async function act(button) {
  button.setAttribute("aria-busy", "true");
  button.disabled = true;
  try {
    for (const path of button.dataset.action.split(" ")) await api("POST", path);
    say(button.dataset.said);
    setTimeout(() => (button.dataset.to ? location.assign(button.dataset.to) : location.reload()), 400);
  } catch (error) {
    say(error.message);
    button.disabled = false;
  } finally {
    button.removeAttribute("aria-busy");
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-action]");
  if (button) act(button);
});

for (const area of document.querySelectorAll("[data-fresh]")) {
  const every = Number(area.dataset.every) * 1000;
  document.addEventListener("captionacc-fresh", () => refresh(area).catch(() => {}));
  const again = async () => {
    try {
      await refresh(area);
    } catch {
      // The server is away for a moment; the next turn tries again.
    }
    setTimeout(again, every);
  };
  setTimeout(again, every);
}
localTimes();
