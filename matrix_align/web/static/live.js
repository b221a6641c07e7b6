// A scene that is being played: the page is read again each time it has grown, and keeps its place in the scene.

import { begin } from "./scene.js";

const stream = new EventSource(document.getElementById("scene").dataset.live);

async function grow(message) {
  const { state, calls } = JSON.parse(message.data);
  const answer = await fetch(location.pathname);
  const grown = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("scene");
  const scene = document.getElementById("scene");
  if (!grown) return;
  const range = scene.querySelector("[data-scrubber] input");
  const moment = range && range.value !== range.max ? Number(range.value) : Infinity; // at the end it stays at the end
  const opened = [...scene.querySelectorAll("details[open]")].map((details) => details.id).filter(Boolean);
  const focused = document.activeElement?.id;
  scene.replaceWith(grown);
  begin(grown, moment);
  for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  const events = grown.querySelectorAll("[data-event]").length - 1;
  document.getElementById("grown").textContent = `${state}: ${calls} calls, ${Math.max(events, 0)} events`;
}

let last = Promise.resolve();
const queue = (message) => { last = last.then(() => grow(message)).catch(() => {}); }; // the next one may come through
stream.addEventListener("grown", queue);
stream.addEventListener("end", (message) => { stream.close(); queue(message); });
