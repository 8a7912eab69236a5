// Counts down to the end of the reservation by the server's clock: the page says how many seconds
// are left, and the browser only measures how much time goes by.
(() => {
  "use strict";
  const TOLD = [600, 300, 60, 30, 10]; // seconds left at which it is said aloud

  let end = null; // on the clock of performance.now()
  let told = Infinity;

  function set(seconds, since) {
    end = since + seconds * 1000;
  }

  function tick() {
    const shown = document.getElementById("countdown");
    if (!shown || end === null) return;
    const left = Math.max(0, Math.ceil((end - performance.now()) / 1000));
    const text = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    if (shown.textContent !== text) shown.textContent = text;
    tell(left);
    if (left > 0) return;
    end = null;
    htmx.trigger("#order", "look-again");
  }

  function tell(left) {
    const next = TOLD.findLast((seconds) => left <= seconds);
    if (next === undefined || next >= told) return;
    told = next;
    const time = left >= 60 ? `${Math.round(left / 60)} minutes` : `${left} seconds`;
    document.getElementById("announcer").textContent = `The ticket is held for you for ${time} more.`;
  }

  document.addEventListener("clock", (event) => set(event.detail.seconds, performance.now()));
  document.addEventListener("htmx:load", (event) => {
    const shown = document.getElementById("countdown");
    if (!shown) return;
    const page = performance.getEntriesByType("navigation")[0];
    const isWhole = event.detail.elt === document.body;
    set(Number(shown.dataset.seconds), isWhole ? page.responseStart : performance.now());
    tick();
  });
  setInterval(tick, 250);
})();
