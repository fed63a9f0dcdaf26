"use strict";
// Hears from the server that something has changed, for pages that stay open, and connects again whenever that breaks off.

class Feed {
  // known: gives the mark by which the page was made; changed: something may be new; told: the connection came or went.
  constructor(known, changed, told) {
    Object.assign(this, { known, changed, told });
    this.source = null;
    this.connected = false;
    this.heardAt = 0;
    this.waitMilliseconds = 1000;
    document.addEventListener("visibilitychange", () => this.follow());
    addEventListener("pagehide", () => this.end());
    addEventListener("pageshow", () => this.follow());
    setInterval(() => this.watch(), 1000);
    if (document.visibilityState === "visible") this.begin();
  }

  // Only a tab in sight listens: a browser opens six connections to a server, and a seventh tab would wait for ever.
  follow() {
    if (document.visibilityState !== "visible") this.end();
    else if (!this.source) { this.begin(); this.changed(); }
  }

  begin() {
    const source = new EventSource(`/live?mark=${this.known()}`); // what changed on the way is told at once
    this.source = source;
    this.heardAt = Date.now();
    source.addEventListener("alive", () => this.hear(true));
    source.addEventListener("changed", () => { this.hear(true); this.changed(); });
    source.addEventListener("broken", () => { this.hear(false); this.changed(); }); // its answer says why
    source.addEventListener("error", () => this.lose(source));
  }

  end() {
    this.source?.close();
    this.source = null;
  }

  hear(connected) {
    this.heardAt = Date.now();
    this.waitMilliseconds = 1000;
    this.tell(connected);
  }

  // A browser tries again by itself after a connection broke, but never after an answer that is no stream: a proxy's
  // error while the server starts, or that the login has ended.
  lose(source) {
    if (source !== this.source) return;
    this.end();
    this.tell(false);
    this.changed();
    setTimeout(() => { if (!this.source && document.visibilityState === "visible") this.begin(); }, this.waitMilliseconds);
    this.waitMilliseconds = Math.min(15000, 2 * this.waitMilliseconds);
  }

  // After the machine slept a connection may look open and be dead; the server gives a sign of life every five seconds.
  watch() {
    if (this.source && Date.now() - this.heardAt > 15000) this.lose(this.source);
  }

  tell(connected) {
    if (connected === this.connected) return;
    this.connected = connected;
    this.told();
  }
}
