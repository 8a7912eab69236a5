// Keeps an open page up to date: listens to the changes of its tickets and lets htmx reload the
// parts that show them. Without an event stream it polls.
(() => {
  "use strict";
  const POLL_INTERVAL = 15_000; // milliseconds, without a stream
  const RETRY_DELAY = 2_000; // milliseconds until a failed request is repeated

  let stream = null;
  let streamed = new Set(); // the tickets whose events the stream sends
  let position = null; // of the last event; before any event, of the page
  let polling = null;

  const requested = new Set(); // the tickets with a request in flight
  const stale = new Set(); // those of them that have changed since the request

  const parts = (selector) => [...document.querySelectorAll(selector)];
  const ticketsOnPage = () => new Set(parts("[data-ticket]").map((part) => part.dataset.ticket));
  const refresh = () => parts("[hx-trigger*=refresh]").forEach((part) => htmx.trigger(part, "refresh"));

  function connect() {
    const wanted = ticketsOnPage();
    const isStreamed = stream && [...wanted].every((ticket) => streamed.has(ticket));
    if (isStreamed || document.hidden || wanted.size === 0) return;
    disconnect();
    streamed = wanted;
    position ??= document.querySelector("[data-position]")?.dataset.position;
    const start = position;
    const query = new URLSearchParams([...wanted].map((ticket) => ["ticket", ticket]));
    if (start) query.set("after", start);
    stream = new EventSource(`/api/tickets/events?${query}`);
    stream.addEventListener("ticket", onTicketEvent);
    stream.addEventListener("ticket_withdrawn", onTicketEvent);
    stream.addEventListener("reset", (event) => {
      position = event.lastEventId;
      refresh();
    });
    stream.addEventListener("open", () => {
      clearInterval(polling);
      if (!start) refresh(); // something may have changed since the page was rendered
    });
    stream.addEventListener("error", () => {
      if (stream?.readyState === EventSource.CLOSED) poll();
    });
  }

  function disconnect() {
    stream?.close();
    stream = null;
  }

  function onTicketEvent(event) {
    position = event.lastEventId;
    reload(JSON.parse(event.data).id);
  }

  // One request per ticket at a time: an answer from before the last change must not arrive last.
  function reload(ticket) {
    if (requested.has(ticket)) stale.add(ticket);
    else parts(`[data-ticket="${ticket}"]`).forEach((part) => htmx.trigger(part, "ticket-changed"));
  }

  function reloadIfStale(ticket) {
    requested.delete(ticket);
    if (stale.delete(ticket)) reload(ticket);
  }

  function poll() {
    disconnect();
    clearInterval(polling);
    polling = setInterval(() => {
      refresh();
      disconnect();
      connect();
    }, POLL_INTERVAL);
  }

  function announce() {
    const status = document.querySelector("#ticket .status, #order .status")?.textContent.trim();
    const text = status ?? document.querySelector("[data-announcement]")?.dataset.announcement;
    const price = document.querySelector("#ticket .price")?.textContent.trim();
    const isRepriced = announce.price !== price;
    if (text && announce.text !== undefined && (announce.text !== text || isRepriced)) {
      document.getElementById("announcer").textContent = isRepriced && price ? `${text}, ${price}` : text;
    }
    announce.text = text;
    announce.price = price;
  }

  document.addEventListener("htmx:beforeRequest", (event) => {
    const { ticket } = event.detail.elt.dataset;
    if (ticket) requested.add(ticket);
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const { ticket } = event.detail.elt.dataset;
    if (!ticket) return;
    if (!event.detail.successful) setTimeout(() => reload(ticket), RETRY_DELAY);
    // A swapped part is ready a moment later, at htmx:load.
    if (!event.detail.successful || event.detail.xhr.status === 204) reloadIfStale(ticket);
  });
  document.addEventListener("htmx:load", (event) => {
    const part = event.detail.elt;
    for (const each of [part, ...part.querySelectorAll("[data-ticket]")]) {
      if (each.dataset.ticket) reloadIfStale(each.dataset.ticket);
    }
    announce();
    connect();
  });

  // A hidden page keeps no connection: browsers allow six per site, for all of its pages.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return disconnect();
    connect();
    refresh();
  });
})();
