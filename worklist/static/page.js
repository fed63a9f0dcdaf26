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

function tickWaits() {
  for (const element of document.querySelectorAll("[data-since]")) {
    element.textContent = durationText((Date.now() - Date.parse(element.dataset.since)) / 1000);
  }
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

function setUpWorklist(list) {
  const refreshMilliseconds = 1000 * Number(list.dataset.refreshSeconds);
  const staleMilliseconds = 1000 * Number(list.dataset.staleSeconds);
  const banner = document.getElementById("stale");
  const live = document.getElementById("live");
  const liveText = document.getElementById("live-text");
  let freshAt = Date.now();
  let problem = "";

  function replace(html) {
    const focused = document.activeElement && list.contains(document.activeElement) ? document.activeElement.id : "";
    const open = new Set([...list.querySelectorAll("details[open]")].map((element) => element.id));
    list.innerHTML = html; // our own server's template, escaped there
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    const unread = list.querySelector("[data-unread]")?.dataset.unread;
    document.title = `${unread} unread - CXR Triage`;
    showTimes(list);
    tickWaits();
  }

  async function refresh() {
    try {
      const response = await fetch("/partial/worklist", { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (response.status === 401) { location.assign("/login"); return; }
      if (!response.ok) throw new Error((await response.json()).detail || `answer ${response.status}`);
      replace(await response.text());
      freshAt = Date.now();
      problem = "";
    } catch (error) {
      problem = error.name === "TypeError" || error.name === "TimeoutError" ? "the page's server does not answer" : error.message;
    }
    showFreshness();
    setTimeout(refresh, refreshMilliseconds);
  }

  function showFreshness() {
    const age = Date.now() - freshAt;
    const stale = age > staleMilliseconds;
    live.classList.toggle("late", stale);
    liveText.textContent = stale ? `${durationText(age / 1000)} old` : "Up to date";
    banner.hidden = !stale;
    const text = `This list is ${durationText(age / 1000)} old: ${problem || "the browser was asleep"}. New studies are not shown.`;
    if (stale && banner.textContent !== text) banner.textContent = text;
  }

  setTimeout(refresh, refreshMilliseconds);
  setInterval(showFreshness, 1000);
}

setUpTheme();
showTimes(document);
tickWaits();
setInterval(tickWaits, 1000);
const worklist = document.getElementById("worklist");
if (worklist) setUpWorklist(worklist);
