// Counts down to the end of the reservation by the server's clock: the page contains the seconds
// that are left, and the browser only measures the time since then.
(() => {
  "use strict";
  const ANNOUNCED_SECONDS = [600, 300, 60, 30, 10]; // seconds left at which a screen reader announces them

  let end = null; // on the clock of performance.now()
  let lastAnnounced = Infinity;

  function set(seconds, since) {
    end = since + seconds * 1000;
  }

  function tick() {
    const countdown = document.getElementById("countdown");
    if (!countdown || end === null) return;
    const left = Math.max(0, Math.ceil((end - performance.now()) / 1000));
    const text = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    if (countdown.textContent !== text) countdown.textContent = text;
    announce(left);
    if (left > 0) return;
    end = null;
    htmx.trigger("#order", "refresh");
  }

  function announce(left) {
    const next = ANNOUNCED_SECONDS.findLast((seconds) => left <= seconds);
    if (next === undefined || next >= lastAnnounced) return;
    lastAnnounced = next;
    const time = left >= 60 ? `${Math.round(left / 60)} minutes` : `${left} seconds`;
    document.getElementById("announcer").textContent = `The ticket is held for you for ${time} more.`;
  }

  document.addEventListener("clock", (event) => set(event.detail.seconds, performance.now()));
  document.addEventListener("htmx:load", (event) => {
    const countdown = document.getElementById("countdown");
    if (!countdown) return;
    const page = performance.getEntriesByType("navigation")[0];
    const isWholePage = event.detail.elt === document.body;
    set(Number(countdown.dataset.seconds), isWholePage ? page.responseStart : performance.now());
    tick();
  });
  setInterval(tick, 250);
})();
