"use strict";
// Keeps the worklist fresh without moving what a person looks at, and lets it be worked by keys.
{
  const list = document.getElementById("worklist");
  const refreshMilliseconds = 1000 * Number(list.dataset.refreshSeconds);
  const staleMilliseconds = 1000 * Number(list.dataset.staleSeconds);
  const banner = document.getElementById("stale");
  const live = document.getElementById("live");
  const liveText = document.getElementById("live-text");
  const news = document.getElementById("news");
  const refused = document.getElementById("refused");
  const slowestRetryMilliseconds = 5000;
  let freshAt = Date.now();
  let problem = "";
  let fetching = false;
  let again = false;
  let timer = 0;

  const rowsOf = (root) => [...root.querySelectorAll("tr[id]")];
  const visibleLinks = () => [...list.querySelectorAll("a.open")].filter((link) => link.offsetParent);

  // The row that must not move: the one in focus, else the first in sight of a list that was scrolled.
  function anchorRow() {
    const focused = document.activeElement?.closest?.("#worklist tr[id]");
    if (focused) return focused;
    return scrollY > 0 ? rowsOf(list).find((row) => row.getBoundingClientRect().bottom > 0) : undefined;
  }

  function replace(html) {
    const anchor = anchorRow();
    const [anchorId, top] = anchor ? [anchor.id, anchor.getBoundingClientRect().top] : ["", 0];
    const focusedId = list.contains(document.activeElement) ? document.activeElement.id : "";
    const open = [...list.querySelectorAll("details[open]")].map((element) => element.id);
    const known = new Set(rowsOf(list).map((row) => row.id));
    list.innerHTML = html; // our own server's template, escaped there
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (focusedId) document.getElementById(focusedId)?.focus({ preventScroll: true });
    const there = anchorId && document.getElementById(anchorId);
    if (there) scrollBy(0, there.getBoundingClientRect().top - top);
    tell(rowsOf(list).filter((row) => !known.has(row.id)));
    const title = list.querySelector("[data-title]")?.dataset.title;
    if (title) document.title = `${title} - CXR Triage`;
    showTimes(list);
    tickWaits();
  }

  function tell(arrived) {
    for (const row of arrived) row.classList.add("arrived");
    const count = (badge) => arrived.filter((row) => row.querySelector(badge)).length;
    const parts = [[count(".p-STAT"), "STAT"], [count(".p-unknown"), "without an answer"]].filter(([number]) => number);
    if (arrived.length) news.textContent = [`${arrived.length} new on the list`, ...parts.map((part) => part.join(" "))].join(", ");
  }

  async function refresh() {
    if (fetching) { again = true; return; }
    fetching = true;
    clearTimeout(timer);
    try {
      const address = list.dataset.partial + location.search;
      const response = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (response.status === 401) { goToLogin(); return; }
      if (!response.ok) throw new Error(await reasonOf(response));
      replace(await response.text());
      freshAt = Date.now();
      problem = "";
    } catch (error) {
      problem = error.name === "Error" ? error.message : "the page's server does not answer";
    }
    fetching = false;
    showFreshness();
    timer = setTimeout(refresh, again ? 500 : problem ? slowestRetryMilliseconds : refreshMilliseconds);
    again = false;
  }

  function showFreshness() {
    const age = Date.now() - freshAt;
    const stale = Boolean(problem) || age > staleMilliseconds;
    live.classList.toggle("late", stale || !feed.connected);
    liveText.textContent = stale ? `${durationText(age / 1000)} old` : feed.connected ? "Up to date" : "Connecting";
    banner.hidden = !stale;
    const since = new Date(freshAt).toLocaleTimeString([], { hour12: false }); // a time that stays: it is read out once
    const text = `This list is as it was at ${since}: ${problem || "the browser was asleep"}. New studies are not shown.`;
    if (stale && banner.textContent !== text) banner.textContent = text;
  }

  function step(by) {
    const links = visibleLinks();
    const row = document.activeElement?.closest?.("#worklist tr[id]");
    const at = links.findIndex((link) => link.closest("tr") === row);
    const next = links[Math.min(links.length - 1, Math.max(0, at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by))];
    next?.focus();
    next?.closest("tr").scrollIntoView({ block: "nearest" });
  }

  // Marks the row in focus and goes on to the next, without leaving the list.
  async function mark(row) {
    const form = row.querySelector(".c-action form");
    if (!form) return;
    const links = visibleLinks();
    const next = links[links.findIndex((link) => link.closest("tr") === row) + 1]?.id; // its row may be another by then
    const reason = await send(form);
    refused.hidden = !reason;
    refused.textContent = reason;
    if (!reason) { news.textContent = "Marked"; if (next) document.getElementById(next)?.focus(); }
    await refresh();
  }

  // Sends a form; returns why it was not taken, in words, empty where it was.
  async function send(form) {
    try {
      const body = new URLSearchParams(new FormData(form));
      const response = await fetch(form.action, { method: "POST", body, redirect: "manual", signal: AbortSignal.timeout(20000) });
      if (response.status === 401) { goToLogin(); return "Log in first."; }
      return response.type === "opaqueredirect" || response.ok ? "" : await reasonOf(response);
    } catch {
      return "Not marked: the page's server does not answer.";
    }
  }

  document.addEventListener("keydown", (event) => {
    if (!keysAreOn() || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    if (event.key === "j" || event.key === "k") { event.preventDefault(); step(event.key === "j" ? 1 : -1); }
    const row = document.activeElement?.closest?.("#worklist tr[id]");
    if (event.key === "r" && row) { event.preventDefault(); mark(row); }
  });
  list.addEventListener("submit", (event) => {
    const row = event.target.closest("tr[id]");
    if (row) { event.preventDefault(); mark(row); }
  });

  const feed = new Feed(() => document.getElementById("mark").value, refresh, () => {
    showFreshness();
    if (feed.connected && problem) refresh();
  });
  timer = setTimeout(refresh, refreshMilliseconds);
  setInterval(showFreshness, 1000);
}
