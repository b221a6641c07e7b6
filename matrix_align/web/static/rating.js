// Keys for the rating page, and a guard against a second click. Every button works without this file.

const keys = document.querySelector("#keys");
const reason = document.querySelector("#reason");
let sent = false;

document.documentElement.classList.add("scripted");

// A key press is a click on the element that names the key, so that it does what the button does.
function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
  if (event.key === "Escape" && event.target === reason) {
    reason.blur();
    return;
  }
  if (keys && !keys.checked) return;
  if (event.target.closest("textarea, select, input:not([type=checkbox])")) return;
  if (event.key.toLowerCase() === "r" && reason) {
    event.preventDefault();
    reason.focus();
    return;
  }
  const target = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (target) {
    event.preventDefault();
    target.click();
  }
}

function once(event) {
  if (sent) event.preventDefault();
  sent = true;
}

function remember() {
  try {
    localStorage.setItem("rating keys", keys.checked ? "on" : "off");
  } catch {
    // The browser keeps nothing; the choice then holds for this page.
  }
}

function recall() {
  try {
    keys.checked = localStorage.getItem("rating keys") !== "off";
  } catch {
    keys.checked = true;
  }
}

if (keys) {
  recall();
  keys.closest("p").hidden = false;
  keys.addEventListener("change", remember);
}
document.addEventListener("keydown", press);
document.addEventListener("submit", once);
window.addEventListener("pageshow", () => (sent = false));
