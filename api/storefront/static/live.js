// Keeps a page true while it is open: hears which of its tickets change, and lets htmx ask anew
// for what shows them. Without a stream it asks every now and then.
(() => {
  "use strict";
  const PATIENCE = 15_000; // milliseconds between two looks where there is no stream

  let stream = null;
  let heard = new Set(); // the tickets that the stream tells of
  let position = null; // of the last event, or of the page before any
  let looking = null;

  const parts = (selector) => [...document.querySelectorAll(selector)];
  const shown = () => new Set(parts("[data-ticket]").map((part) => part.dataset.ticket));
  const lookAgain = () => parts("[hx-trigger*=look-again]").forEach((part) => htmx.trigger(part, "look-again"));

  function follow() {
    const wanted = shown();
    const isHeard = stream && [...wanted].every((ticket) => heard.has(ticket));
    if (isHeard || document.hidden || wanted.size === 0) return;
    leave();
    heard = wanted;
    position ??= document.querySelector("[data-position]")?.dataset.position;
    const query = new URLSearchParams([...wanted].map((ticket) => ["ticket", ticket]));
    if (position) query.set("after", position);
    stream = new EventSource(`/api/tickets/events?${query}`);
    stream.addEventListener("ticket", hear);
    stream.addEventListener("ticket_withdrawn", hear);
    stream.addEventListener("reset", (event) => {
      position = event.lastEventId;
      lookAgain();
    });
    stream.addEventListener("open", () => clearInterval(looking));
    stream.addEventListener("error", () => {
      if (stream?.readyState === EventSource.CLOSED) keepLooking();
    });
  }

  function leave() {
    stream?.close();
    stream = null;
  }

  function hear(event) {
    position = event.lastEventId;
    const { id } = JSON.parse(event.data);
    parts(`[data-ticket="${id}"]`).forEach((part) => htmx.trigger(part, "ticket-changed"));
  }

  function keepLooking() {
    leave();
    clearInterval(looking);
    looking = setInterval(() => {
      lookAgain();
      leave();
      follow();
    }, PATIENCE);
  }

  function announce() {
    const status = document.querySelector("#ticket .status, #order .status");
    const announcer = document.getElementById("announcer");
    const text = status?.textContent.trim();
    if (text && announce.said !== undefined && announce.said !== text) announcer.textContent = text;
    announce.said = text;
  }

  // A hidden page keeps no connection: a browser has six of them for all pages of a site.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return leave();
    follow();
    parts("#order").forEach((order) => htmx.trigger(order, "look-again"));
  });
  document.addEventListener("htmx:load", () => {
    announce();
    follow();
  });
})();
