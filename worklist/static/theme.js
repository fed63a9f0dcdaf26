"use strict";
// Runs before the first paint: dark unless this reader chose otherwise ("light", or "system" for the machine's choice).
(() => {
  const choice = localStorage.getItem("theme") || "dark";
  const light = choice === "light" || (choice === "system" && matchMedia("(prefers-color-scheme: light)").matches);
  document.documentElement.dataset.theme = light ? "light" : "dark";
  document.documentElement.dataset.choice = choice;
})();
