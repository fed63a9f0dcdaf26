"use strict";
// A tried picture's heat maps on choice, dropping a file on the form, and waiting for the answer; the form works without.
{
  const note = document.getElementById("try-note");
  let tried = document.getElementById("tried");

  // What is seen is always what is chosen: an answer that comes after another choice is thrown away.
  async function show(choice) {
    const next = tried.cloneNode();
    next.src = tried.src.replace(/[^/]+\.png$/, `${choice.value}.png`);
    next.alt = choice.value === "radiograph" ? "The picture, as the model saw it" : `Heat map of ${choice.dataset.name}`;
    note.textContent = "Loading";
    tried.classList.add("old");
    const failed = await next.decode().then(() => false, () => true);
    if (!choice.checked) return;
    note.textContent = failed ? "It cannot be had: the trial is over, or the page's server does not answer." : "";
    if (failed) return;
    next.classList.remove("old");
    tried.replaceWith(next);
    tried = next;
  }

  document.getElementById("map-choice")?.addEventListener("change", (event) => show(event.target));

  const form = document.getElementById("try-form");
  if (form) {
    const drop = document.getElementById("drop");
    const picture = document.getElementById("picture");
    const button = form.querySelector("button");
    const largest = Number(form.dataset.largestBytes);
    const wait = (waits) => {
      button.disabled = waits;
      note.textContent = waits ? "The picture is sent and judged; that can take a few seconds." : "";
    };
    const refuse = () => {
      const tooLarge = picture.files[0]?.size > largest;
      picture.setCustomValidity(tooLarge ? `This file is too large: ${Math.round(largest / 2 ** 20)} MB at most.` : "");
      if (tooLarge) picture.reportValidity();
    };
    picture.addEventListener("change", refuse);
    drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      picture.files = event.dataTransfer.files;
      drop.classList.remove("over");
      refuse();
    });
    form.addEventListener("submit", () => wait(true));
    addEventListener("pageshow", () => wait(false));
  }
}
