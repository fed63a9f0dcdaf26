"use strict";
// Tells whoever looks at a study that it has changed since, or that nobody knows; what they write is left alone.
{
  const { study, standing, mark } = document.getElementById("standing").dataset;
  const banner = document.getElementById("changed");
  const words = document.getElementById("changed-words");
  const comment = document.querySelector("textarea[name='comment']");
  const madeAt = new Date().toLocaleTimeString([], { hour12: false });

  async function look() {
    const text = await change();
    if (words.textContent !== text) words.textContent = text;
    banner.hidden = !text;
  }

  async function change() {
    try {
      const address = `/partial/studies/${study}/standing`;
      const response = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (response.status === 401) {
        if (!comment?.value.trim()) goToLogin();
        return "You are logged out. Log in again in another tab, then send what you have written.";
      }
      if (!response.ok) return `This page is as it was at ${madeAt}: ${await reasonOf(response)}`;
      const now = await response.json();
      for (const field of document.querySelectorAll("input[name='csrf']")) field.value = now.csrf; // of a new login
      return now.standing === standing ? "" : "This study has changed since this page was opened.";
    } catch {
      return `This page is as it was at ${madeAt}: its server does not answer.`;
    }
  }

  new Feed(() => mark, look, look);
  setInterval(() => { if (document.visibilityState === "visible") look(); }, 15000); // the feed is a help, not the truth
}
