// Rename and delete a video on its page.

import { api, say } from "./page.js";

const get = (id) => document.getElementById(id);
const { video } = get("video-tools").dataset;

get("rename").addEventListener("click", () => {
  get("rename-dialog").showModal();
  get("new-name").select();
});
get("rename-cancel").addEventListener("click", () => get("rename-dialog").close());
get("rename-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await api("PATCH", `/videos/${video}`, { filename: get("new-name").value, folder: get("new-folder").value });
    location.reload();
  } catch (error) {
    get("rename-problem").textContent = error.message;
  }
});
get("delete-video")?.addEventListener("click", async () => {
  try {
    await api("DELETE", `/videos/${video}`);
    location.assign(`/review?deleted=${video}`);
  } catch (error) {
    say(error.message);
  }
});
