// A scene that is being played: the page is read again each time it has grown, and what has changed is changed in place.
// Elements stay, and with them whatever a person typed, opened, focused or marked.

import { showNow } from "./scene.js";

const OURS = new Set(["hidden", "open", "tabindex", "data-lit", "data-now", "disabled"]); // the person's, or scene.js's
const AGAIN = 10_000; // milliseconds after which a page asks again that found no room among those that follow

function renew(here, grown) {
  // Makes the node `here` like `grown`. A call that was fetched, with what is typed in its form, is left alone.
  if (here.nodeType !== Node.ELEMENT_NODE) {
    if (here.data !== grown.data) here.data = grown.data;
    return;
  }
  if (here.matches("details.call:not([data-call])")) return;
  for (const { name } of [...here.attributes]) {
    if (!OURS.has(name) && !grown.hasAttribute(name)) here.removeAttribute(name);
  }
  for (const { name, value } of grown.attributes) {
    if (!OURS.has(name) && here.getAttribute(name) !== value) here.setAttribute(name, value);
  }
  let next = here.firstChild;
  for (const child of [...grown.childNodes]) {
    const match = counterpart(next, child);
    if (!match) {
      here.insertBefore(child, next);
      continue;
    }
    next = cleared(next, match);
    renew(match, child);
    next = match.nextSibling;
  }
  cleared(next, null);
}

function counterpart(next, child) {
  // A child with an id is the one that has it by now, wherever it stands; any other is the next one, if it is of a kind.
  let match = next;
  if (child.id) while (match && match.id !== child.id) match = match.nextSibling;
  return match && match.nodeName === child.nodeName && (match.id ?? "") === (child.id ?? "") ? match : null;
}

function cleared(next, until) {
  // Removes the siblings from `next` on, until that one.
  while (next !== until) {
    const after = next.nextSibling;
    next.remove();
    next = after;
  }
  return until;
}

let renewed = performance.now();

function tell() {
  // How long what the page says has been so: at the time when it was read, and since then.
  for (const timer of document.querySelectorAll("[data-seconds]")) {
    const seconds = Number(timer.dataset.seconds) + (performance.now() - renewed) / 1000;
    timer.textContent = timer.dataset.words.replace("{}", length(seconds));
  }
}

function length(seconds) {
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} days`;
}

async function grow(message) {
  const { state, calls } = JSON.parse(message.data);
  const answer = await fetch(location.pathname);
  const grown = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("scene");
  const scene = document.getElementById("scene");
  if (!grown) return;
  const range = scene.querySelector("[data-scrubber] input");
  const moment = range && range.value !== range.max ? Number(range.value) : Infinity; // at the end it stays at the end
  renew(scene, grown);
  renewed = performance.now();
  tell();
  showNow(scene, moment);
  const events = scene.querySelectorAll("[data-event]").length - 1;
  document.getElementById("grown").textContent = `${state}: ${calls} calls, ${Math.max(events, 0)} events`;
}

let last = Promise.resolve();
const queue = (message) => { last = last.then(() => grow(message)).catch(() => {}); }; // the next one may come through

function follow() {
  const stream = new EventSource(document.getElementById("scene").dataset.live);
  stream.addEventListener("grown", queue);
  stream.addEventListener("end", (message) => { stream.close(); queue(message); });
  stream.addEventListener("error", () => { // by itself the browser tries again only if the connection broke
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, AGAIN);
  });
}

tell();
setInterval(tell, 1000);
follow();
