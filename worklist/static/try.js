"use strict";
// Heat maps of a tried picture on choice, and dropping a file on the form; without this file the form still works.
{
  const tried = document.getElementById("tried");
  document.getElementById("map-choice")?.addEventListener("change", (event) => {
    tried.src = tried.src.replace(/[^/]+\.png$/, `${event.target.value}.png`);
    tried.alt = event.target.value === "radiograph" ? "The picture, as the model saw it" : `Heat map of ${event.target.value}`;
  });
  const drop = document.getElementById("drop");
  drop?.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop?.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop?.addEventListener("drop", (event) => {
    event.preventDefault();
    document.getElementById("picture").files = event.dataTransfer.files;
    drop.classList.remove("over");
  });
}
