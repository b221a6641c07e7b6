// The page of one scene: the scrubber, the links between its parts, and the calls that are fetched when they are opened.
// All texts are already in the page; nothing here makes HTML of a text.

const SVG = "http://www.w3.org/2000/svg";

function show(root, moment) {
  const events = [...root.querySelectorAll("[data-event]")];
  const last = events.length - 1;
  moment = Math.max(0, Math.min(last, moment));
  const all = root.querySelector("[data-all]").checked;
  for (const event of events) {
    const number = Number(event.dataset.event);
    event.hidden = all ? number === 0 : number !== moment;
    event.toggleAttribute("data-now", number === moment);
  }
  const range = root.querySelector("[data-scrubber] input");
  range.value = moment;
  range.setAttribute("aria-valuetext", moment ? `event ${moment} of ${last}` : "before the first event");
  root.querySelector("[data-scrubber] output").textContent = `${moment} of ${last}`;
  root.querySelector('[data-go="-1"]').disabled = moment === 0;
  root.querySelector('[data-go="1"]').disabled = moment === last;
  root.querySelector("[data-by]").textContent = moment ? ` after event ${moment}` : " before the first event";
  for (const memory of root.querySelectorAll("[data-memory]")) {
    const items = [...memory.querySelectorAll("[data-since]")];
    for (const item of items) item.hidden = Number(item.dataset.since) > moment;
    memory.querySelector("[data-known]").textContent = `${items.filter((item) => !item.hidden).length} of ${moment}`;
  }
  draw(root, events[moment]);
}

function draw(root, event) {
  const { actor = "", observers = "", feasible = "true" } = event.dataset;
  const saw = observers.split(" ").filter(Boolean);
  const places = {};
  for (const party of root.querySelectorAll("[data-party]")) {
    const place = party.dataset.party;
    places[place] = party.dataset;
    party.setAttribute("class", "party " + (place === actor ? (feasible === "true" ? "acts" : "acts refused") : saw.includes(place) ? "saw" : actor ? "unaware" : ""));
  }
  const lines = saw.filter((place) => places[actor] && places[place]).map((place) => {
    const line = document.createElementNS(SVG, "line");
    for (const [name, value] of [["x1", places[actor].x], ["y1", places[actor].y], ["x2", places[place].x], ["y2", places[place].y]]) {
      line.setAttribute(name, value);
    }
    return line;
  });
  root.querySelector(".sight").replaceChildren(...lines);
  root.querySelector(".picture").setAttribute("aria-label", described(root, actor, saw, feasible === "true"));
}

function described(root, actor, saw, feasible) {
  const name = (place) => root.querySelector(`[data-memory="${place}"]`).getAttribute("aria-label").slice(5, -6);
  if (!actor) return "Who is there: " + [...root.querySelectorAll("[data-party]")].map((p) => name(p.dataset.party)).join(", ");
  return `${name(actor)} ${feasible ? "acts" : "tries what is not feasible"}. Seen by: ${saw.map(name).join(", ") || "nobody else"}`;
}

function linked(root, node) {
  // All that a sentence, a point or an event is linked to, both ways.
  const leads = (from, to) => [...from.querySelectorAll("a.chip")].some((chip) => chip.hash === "#" + to.dataset.node);
  return [...root.querySelectorAll("[data-node]")].filter((other) => other !== node && (leads(node, other) || leads(other, node)));
}

function light(root, node) {
  // What is pointed at or focused lights up with all that it is linked to.
  for (const each of root.querySelectorAll("[data-lit]")) each.removeAttribute("data-lit");
  if (node) for (const each of [node, ...linked(root, node)]) each.setAttribute("data-lit", "");
}

async function open(details) {
  const address = details.dataset.call;
  if (!details.open || !address) return;
  delete details.dataset.call;
  const answer = await fetch(address).then((found) => found.text(), () => "");
  const spoken = new DOMParser().parseFromString(answer, "text/html").querySelector(".spoken");
  if (spoken) details.lastElementChild.replaceWith(spoken);
  else details.dataset.call = address; // the link to the call's own page stays
}

function follow(root, hash) {
  const target = hash && root.querySelector("#" + CSS.escape(hash.slice(1)));
  if (!target) return;
  if (target.dataset.event) show(root, Number(target.dataset.event));
  if (target.matches("details")) target.open = true;
  target.setAttribute("tabindex", "-1");
  target.scrollIntoView({ block: "nearest" });
  target.focus({ preventScroll: true });
}

export function showNow(root, moment) {
  // The event `moment`, or the last one.
  if (root.querySelector("[data-scrubber]")) {
    root.querySelector("[data-scrubber]").hidden = false;
    show(root, moment);
  }
}

function begin(root) {
  // All listeners are the root's own, so that a part that is added later needs none.
  const range = () => root.querySelector("[data-scrubber] input");
  const moment = () => Number(range().value);
  root.addEventListener("toggle", (event) => event.target.matches("details.call") && open(event.target), true);
  root.addEventListener("pointerover", (event) => light(root, event.target.closest("[data-node]")));
  root.addEventListener("pointerleave", () => light(root, document.activeElement.closest("[data-node]")));
  root.addEventListener("focusin", (event) => light(root, event.target.closest("[data-node]")));
  root.addEventListener("focusout", () => light(root, null));
  root.addEventListener("input", (event) => event.target === range() && show(root, moment()));
  root.addEventListener("change", (event) => event.target.matches("[data-all]") && show(root, moment()));
  root.addEventListener("click", (event) => {
    const button = event.target.closest("[data-go]");
    if (button) show(root, moment() + Number(button.dataset.go));
    const chip = event.target.closest('a[href^="#"]');
    if (!chip || !chip.hash) return;
    event.preventDefault();
    history.replaceState(null, "", chip.hash);
    follow(root, chip.hash);
  });
  showNow(root, root.dataset.live ? Infinity : 1); // a scene that is played now is shown at its end
  follow(root, location.hash);
}

addEventListener("hashchange", () => follow(document.getElementById("scene"), location.hash));
begin(document.getElementById("scene"));
