"use strict";
// Everything works without this file; with it times are local, waits tick, and the worklist keeps itself fresh.

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function durationText(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const first = UNITS.findIndex(([, size]) => whole >= size || size === 1);
  const [unit, size] = UNITS[first];
  const text = `${Math.floor(whole / size)} ${unit}`;
  if (size === 1) return text;
  const [nextUnit, nextSize] = UNITS[first + 1];
  const rest = Math.floor((whole % size) / nextSize);
  return `${text} ${nextUnit === "h" ? rest : String(rest).padStart(2, "0")} ${nextUnit}`;
}

function showTimes(root) {
  const today = new Date().toDateString();
  for (const element of root.querySelectorAll("time[datetime]:not([data-local])")) {
    const moment = new Date(element.getAttribute("datetime"));
    const clock = moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
    const sameDay = moment.toDateString() === today;
    element.title = element.textContent;
    element.textContent = sameDay ? clock : `${moment.toLocaleDateString("sv-SE")} ${clock}`;
    element.dataset.local = "";
  }
}

// Waits go on from what the server said, by its clock: this machine's may be wrong by minutes.
function tickWaits() {
  for (const element of document.querySelectorAll("[data-waited]")) {
    element.since ??= Date.now() - 1000 * Number(element.dataset.waited);
    element.textContent = durationText((Date.now() - element.since) / 1000);
  }
}

// Why a request was refused: in an answer for programs, in the notice of a page, or its number where a proxy answered.
async function reasonOf(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).detail;
  } catch {
    const page = new DOMParser().parseFromString(text, "text/html");
    const notice = page.querySelector("main [role='alert']:not([hidden])") || page.querySelector("main h1");
    return notice?.textContent.trim() || `the page's server answers ${response.status}`;
  }
}

// After the login the reader is back where the session ended.
function goToLogin() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}

function setUpTheme() {
  const button = document.getElementById("theme-button");
  const choices = ["dark", "light", "system"];
  const show = () => {
    const choice = localStorage.getItem("theme") || "dark";
    const light = choice === "light" || (choice === "system" && matchMedia("(prefers-color-scheme: light)").matches);
    document.documentElement.dataset.theme = light ? "light" : "dark";
    button.textContent = `Theme: ${choice}`;
  };
  button.addEventListener("click", () => {
    const now = choices.indexOf(localStorage.getItem("theme") || "dark");
    localStorage.setItem("theme", choices[(now + 1) % choices.length]);
    show();
  });
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", show);
  show();
}

// Plain keys can be switched off: who speaks to the machine presses letters unawares (WCAG 2.1.4).
const keysAreOn = () => localStorage.getItem("keys") !== "off";

function setUpKeysButton() {
  const button = document.getElementById("keys-button");
  const show = () => { if (button) button.textContent = keysAreOn() ? "Keys: on" : "Keys: off"; };
  button?.addEventListener("click", () => { localStorage.setItem("keys", keysAreOn() ? "off" : "on"); show(); });
  show();
}

// Plain keys, never while a person writes; what they press is a link or a button that is on the page, too.
function setUpKeys() {
  document.addEventListener("keydown", (event) => {
    if (!keysAreOn() || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest("input:not([type='radio'], [type='range']), select, textarea, [contenteditable]")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const wanted = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (!wanted) return;
    event.preventDefault();
    if (wanted.matches("input")) { wanted.focus(); wanted.select(); } else wanted.click();
  });
}

setUpTheme();
showTimes(document);
tickWaits();
setInterval(tickWaits, 1000);
setUpKeys();
setUpKeysButton();
