// Keeps a page true while it is open: hears which of its tickets change, and lets htmx ask anew
// for what shows them. Without a stream it asks every now and then.
(() => {
  "use strict";
  const PATIENCE = 15_000; // milliseconds between two looks where there is no stream
  const PAUSE = 2_000; // milliseconds before a part is asked for again that could not be had

  let stream = null;
  let heard = new Set(); // the tickets that the stream tells of
  let position = null; // of the last event, or of the page before any
  let looking = null;

  const asked = new Set(); // the tickets that are being asked for
  const stale = new Set(); // those that have changed meanwhile

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
    const begins = position;
    const query = new URLSearchParams([...wanted].map((ticket) => ["ticket", ticket]));
    if (begins) query.set("after", begins);
    stream = new EventSource(`/api/tickets/events?${query}`);
    stream.addEventListener("ticket", hear);
    stream.addEventListener("ticket_withdrawn", hear);
    stream.addEventListener("reset", (event) => {
      position = event.lastEventId;
      lookAgain();
    });
    stream.addEventListener("open", () => {
      clearInterval(looking);
      if (!begins) lookAgain(); // something may have changed since the page was made
    });
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
    ask(JSON.parse(event.data).id);
  }

  // One question at a time: an answer that was made before the last change must not be the last.
  function ask(ticket) {
    if (asked.has(ticket)) stale.add(ticket);
    else parts(`[data-ticket="${ticket}"]`).forEach((part) => htmx.trigger(part, "ticket-changed"));
  }

  function askAgainIfStale(ticket) {
    asked.delete(ticket);
    if (stale.delete(ticket)) ask(ticket);
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
    const said = document.querySelector("#ticket .status, #order .status")?.textContent.trim();
    const text = said ?? document.querySelector("[data-says]")?.dataset.says;
    const price = document.querySelector("#ticket .price")?.textContent.trim();
    const isRepriced = announce.price !== price;
    if (text && announce.said !== undefined && (announce.said !== text || isRepriced)) {
      document.getElementById("announcer").textContent = isRepriced && price ? `${text}, ${price}` : text;
    }
    announce.said = text;
    announce.price = price;
  }

  document.addEventListener("htmx:beforeRequest", (event) => {
    const { ticket } = event.detail.elt.dataset;
    if (ticket) asked.add(ticket);
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const { ticket } = event.detail.elt.dataset;
    if (!ticket) return;
    if (!event.detail.successful) setTimeout(() => ask(ticket), PAUSE);
    // What was swapped in is ready a moment later, and says so by htmx:load.
    if (!event.detail.successful || event.detail.xhr.status === 204) askAgainIfStale(ticket);
  });
  document.addEventListener("htmx:load", (event) => {
    const part = event.detail.elt;
    for (const each of [part, ...part.querySelectorAll("[data-ticket]")]) {
      if (each.dataset.ticket) askAgainIfStale(each.dataset.ticket);
    }
    announce();
    follow();
  });

  // A hidden page keeps no connection: a browser has six of them for all pages of a site.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return leave();
    follow();
    lookAgain();
  });
})();
