"use strict";
// The radiograph on a canvas: window and level, zoom, move, invert, and a heat map laid over it.
{
  const canvas = document.getElementById("stage");
  const START = { scale: 1, x: 0, y: 0, window: 255, level: 128, invert: false };
  const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`);

  class Viewer {
    constructor() {
      this.view = { ...START };
      this.context = canvas.getContext("2d");
      this.note = document.getElementById("stage-note");
      this.base = document.getElementById("viewer").dataset.base;
      this.image = ""; // whose picture and map are below
      this.picture = null; // the radiograph's pixels as they came
      this.shown = document.createElement("canvas"); // the same after window and level
      this.map = null;
      this.asked = { image: "", picture: null };
      this.turn = 0;
      this.drawn = 0;
    }

    // Shows what is chosen. Nothing of an earlier choice is seen under the name of a later one, however slowly it comes.
    async show() {
      const turn = ++this.turn;
      const [image, map] = [chosen("image").value, chosen("map")];
      this.map = null;
      if (image !== this.image) [this.image, this.picture] = [image, null];
      this.mark();
      if (!this.picture) {
        this.note.textContent = "Loading the radiograph";
        const picture = await this.pictureOf(image);
        if (turn !== this.turn) return;
        if (picture instanceof Error) { this.note.textContent = picture.message; return; }
        this.take(picture);
      }
      this.note.textContent = map.value ? "Loading the heat map" : "";
      if (!map.value) return;
      const found = await loaded(`${this.base}/maps/${image}/${map.value}.png`);
      if (turn !== this.turn) return;
      this.note.textContent = found instanceof Error ? found.message : "";
      this.map = found instanceof Error ? null : found;
      this.mark();
    }

    async pictureOf(image) {
      if (this.asked.image !== image) this.asked = { image, picture: loaded(`${this.base}/instances/${image}.png`) };
      const picture = await this.asked.picture;
      if (picture instanceof Error && this.asked.image === image) this.asked.image = ""; // the next choice asks again
      return picture;
    }

    take(picture) {
      this.shown.width = picture.width;
      this.shown.height = picture.height;
      const context = this.shown.getContext("2d", { willReadFrequently: true });
      context.drawImage(picture, 0, 0);
      this.picture = context.getImageData(0, 0, this.shown.width, this.shown.height);
      this.grade();
    }

    // Says on the stage what lies there now.
    mark() {
      const map = this.map ? chosen("map") : null;
      canvas.dataset.image = this.picture ? this.image : "";
      canvas.dataset.map = map ? map.value : "";
      document.getElementById("stage-map").textContent = map ? `Heat map: ${map.dataset.name}` : "";
      if (map) document.getElementById("map-sent").href = `${this.base}/results/${map.value}.png`;
      this.draw();
    }

    // Window and level as in DICOM: values from level - window / 2 to level + window / 2 take the whole grey scale.
    grade() {
      if (!this.picture) return;
      const { window: width, level, invert } = this.view;
      const table = new Uint8ClampedArray(256);
      for (let value = 0; value < 256; value++) {
        const grey = width === 255 && level === 128 ? value : 255 * ((value - level) / width + 0.5);
        table[value] = invert ? 255 - Math.min(255, Math.max(0, grey)) : grey;
      }
      const target = new ImageData(this.picture.width, this.picture.height);
      const from = this.picture.data;
      const to = new Uint32Array(target.data.buffer);
      for (let at = 0; at < to.length; at++) to[at] = 0xff000000 | (table[from[4 * at]] * 0x010101);
      this.shown.getContext("2d").putImageData(target, 0, 0);
      document.getElementById("stage-mark").hidden = !invert;
      this.mark();
    }

    draw() {
      cancelAnimationFrame(this.drawn);
      this.drawn = requestAnimationFrame(() => this.paint());
    }

    paint() {
      const ratio = devicePixelRatio || 1;
      const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      const { context, shown, view } = this;
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.fillStyle = "#000";
      context.fillRect(0, 0, width, height);
      if (!this.picture) return;
      const fit = Math.min(width / shown.width, height / shown.height) * view.scale;
      const left = width / 2 + view.x * ratio - (shown.width * fit) / 2;
      const top = height / 2 + view.y * ratio - (shown.height * fit) / 2;
      context.imageSmoothingEnabled = fit < 3;
      context.imageSmoothingQuality = "high";
      context.drawImage(shown, left, top, shown.width * fit, shown.height * fit);
      if (this.map) {
        context.globalAlpha = Number(document.getElementById("opacity").value) / 100;
        context.drawImage(this.map, left, top, shown.width * fit, shown.height * fit);
        context.globalAlpha = 1;
      }
      Object.assign(canvas.dataset, { scale: view.scale.toFixed(2), window: Math.round(view.window), level: Math.round(view.level) });
    }

    // Zooms so that the point at (x, y) from the middle of the canvas, in CSS pixels, stays where it is.
    zoom(by, x = 0, y = 0) {
      const scale = Math.min(20, Math.max(0.5, this.view.scale * by));
      const change = scale / this.view.scale;
      Object.assign(this.view, { scale, x: x - (x - this.view.x) * change, y: y - (y - this.view.y) * change });
      this.draw();
    }

    move(x, y) {
      this.view.x += x;
      this.view.y += y;
      this.draw();
    }

    expose(width, level) {
      this.view.window = Math.min(512, Math.max(8, width));
      this.view.level = Math.min(255, Math.max(0, level));
      document.getElementById("window").value = this.view.window;
      document.getElementById("level").value = this.view.level;
      this.grade();
    }

    invert() {
      this.view.invert = !this.view.invert;
      document.getElementById("invert").setAttribute("aria-pressed", String(this.view.invert));
      this.grade();
    }

    reset() {
      this.view = { ...START };
      document.getElementById("invert").setAttribute("aria-pressed", "false");
      this.expose(START.window, START.level);
    }
  }

  // A picture, or an Error that says why there is none: the server answers with a drawn sentence then.
  async function loaded(address) {
    let response;
    try {
      response = await fetch(address);
    } catch {
      return new Error("The page's server does not answer.");
    }
    if (response.status === 401 || response.redirected) { goToLogin(); return new Error("Log in first"); }
    if (!response.ok) {
      const text = await response.text().catch(() => "");
      const drawn = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
      const ours = drawn.matches("svg") && !drawn.querySelector("parsererror"); // not a proxy's
      return new Error((ours && drawn.textContent.trim()) || `The picture cannot be had (${response.status}).`);
    }
    return response.blob().then(createImageBitmap).catch(() => new Error("The picture cannot be shown."));
  }

  function setUpPointer(viewer) {
    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      from = { x: event.clientX, y: event.clientY, moves: event.button !== 0 || event.shiftKey };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      const [x, y] = [event.clientX - from.x, event.clientY - from.y];
      Object.assign(from, { x: event.clientX, y: event.clientY });
      if (from.moves) viewer.move(x, y); else viewer.expose(viewer.view.window + x, viewer.view.level + y / 2);
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { from = null; });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = canvas.getBoundingClientRect();
      viewer.zoom(Math.exp(-event.deltaY / 400), event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2);
    }, { passive: false });
  }

  function setUpControls(viewer) {
    const on = (id, name, deed) => document.getElementById(id).addEventListener(name, deed);
    on("zoom-in", "click", () => viewer.zoom(1.25));
    on("zoom-out", "click", () => viewer.zoom(0.8));
    on("invert", "click", () => viewer.invert());
    on("reset", "click", () => viewer.reset());
    on("opacity", "input", () => viewer.draw());
    for (const id of ["window", "level"]) {
      on(id, "input", () => viewer.expose(Number(document.getElementById("window").value), Number(document.getElementById("level").value)));
    }
    document.getElementById("viewer").addEventListener("change", (event) => {
      const { name, dataset } = event.target;
      if (name === "image" && chosen("map").dataset.image !== event.target.value) document.getElementById("map-none").checked = true;
      if (name === "map" && dataset.image) document.querySelector(`input[name="image"][value="${CSS.escape(dataset.image)}"]`).checked = true;
      if (name === "image" || name === "map") viewer.show();
    });
    const keys = {
      ArrowLeft: () => viewer.move(20, 0), ArrowRight: () => viewer.move(-20, 0), ArrowUp: () => viewer.move(0, 20),
      ArrowDown: () => viewer.move(0, -20), "+": () => viewer.zoom(1.25), "-": () => viewer.zoom(0.8),
      i: () => viewer.invert(), 0: () => viewer.reset(),
    };
    canvas.addEventListener("keydown", (event) => {
      const deed = event.ctrlKey || event.metaKey || event.altKey ? undefined : keys[event.key];
      if (deed) { event.preventDefault(); deed(); }
    });
  }

  if (canvas) {
    const viewer = new Viewer();
    setUpPointer(viewer);
    setUpControls(viewer);
    new ResizeObserver(() => viewer.draw()).observe(canvas);
    viewer.show();
  }
  document.getElementById("agree-rest")?.addEventListener("click", () => {
    for (const verdict of document.querySelectorAll("select.verdicts")) {
      if (!verdict.value && verdict.querySelector('option[value="agree"]')) verdict.value = "agree";
    }
  });
}
