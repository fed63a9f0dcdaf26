"use strict";
// Keeps the operations page fresh; without it the page is as it was when it was loaded.
{
  const body = document.getElementById("operations");
  const refreshMilliseconds = 1000 * Number(body.dataset.refreshSeconds);
  const staleMilliseconds = 1000 * Number(body.dataset.staleSeconds);
  const banner = document.getElementById("stale");
  const live = document.getElementById("live");
  const liveText = document.getElementById("live-text");
  let freshAt = Date.now();
  let problem = "";

  async function refresh() {
    try {
      const response = await fetch("/partial/operations", { cache: "no-store", signal: AbortSignal.timeout(20000) });
      if (response.status === 401) { goToLogin(); return; }
      if (!response.ok) throw new Error(await reasonOf(response));
      const focused = body.contains(document.activeElement) ? document.activeElement.id : "";
      body.innerHTML = await response.text(); // our own server's template, escaped there
      if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
      showTimes(body);
      freshAt = Date.now();
      problem = "";
    } catch (error) {
      problem = error.name === "Error" ? error.message : "the page's server does not answer";
    }
    showFreshness();
    setTimeout(refresh, refreshMilliseconds);
  }

  function showFreshness() {
    const age = Date.now() - freshAt;
    const stale = Boolean(problem) || age > staleMilliseconds;
    live.classList.toggle("late", stale);
    liveText.textContent = stale ? `${durationText(age / 1000)} old` : "Up to date";
    banner.hidden = !stale;
    const since = new Date(freshAt).toLocaleTimeString([], { hour12: false }); // a time that stays: it is read out once
    const text = `This page is as it was at ${since}: ${problem || "the browser was asleep"}.`;
    if (stale && banner.textContent !== text) banner.textContent = text;
  }

  setTimeout(refresh, refreshMilliseconds);
  setInterval(showFreshness, 1000);
}
