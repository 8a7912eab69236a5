// Stripe's Payment Element: the card is typed into a frame of Stripe's, which makes a payment
// method of it, and shows the bank's page where one is needed.
// Source: https://docs.stripe.com/payments/finalize-payments-on-the-server
(() => {
  "use strict";
  const UNREACHABLE = "Stripe cannot be reached at the moment. Nothing was charged; reload this page to try again.";

  const NO_BANK = "Stripe cannot be reached at the moment. Reload this page to try again.";

  let stripe = null;

  function complain(error, message) {
    error.textContent = message;
    error.hidden = !message;
  }

  function showCardForm(form) {
    stripe ??= Stripe(form.dataset.publishableKey);
    const elements = stripe.elements({
      mode: "payment",
      amount: Number(form.dataset.amount),
      currency: form.dataset.currency,
      captureMethod: "manual",
      paymentMethodCreation: "manual",
      paymentMethodTypes: ["card"],
      appearance: { theme: matchMedia("(prefers-color-scheme: dark)").matches ? "night" : "stripe" },
    });
    const element = elements.create("payment");
    const button = form.querySelector("button");
    const error = form.querySelector("#card-error");
    element.on("ready", () => (button.disabled = false));
    element.on("loaderror", () => complain(error, UNREACHABLE));
    element.mount("#payment-element");
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (button.disabled) return;
      button.disabled = true;
      const submitted = await elements.submit();
      const made = submitted.error ? submitted : await stripe.createPaymentMethod({ elements });
      const pay = document.getElementById("pay"); // gone, if time has run out meanwhile
      if (made.error || !pay) {
        complain(error, made.error?.message ?? "");
        button.disabled = false;
        return;
      }
      pay.elements.payment_method.value = made.paymentMethod.id;
      pay.submit();
    });
  }

  function showBank(place) {
    stripe ??= Stripe(place.dataset.publishableKey);
    const button = place.querySelector("button");
    button.disabled = false;
    button.addEventListener("click", async () => {
      button.disabled = true;
      const { error } = await stripe.handleNextAction({ clientSecret: place.dataset.clientSecret });
      if (!error) return location.assign(place.dataset.back);
      complain(place.querySelector(".error"), error.message);
      button.disabled = false;
    });
  }

  document.addEventListener("htmx:load", () => {
    const form = document.querySelector("#stripe-card:not([data-shown])");
    const bank = document.querySelector("#authenticate:not([data-shown])");
    for (const part of [form, bank]) {
      if (!part) continue;
      part.dataset.shown = "";
      if (!window.Stripe) complain(part.querySelector(".error"), part === form ? UNREACHABLE : NO_BANK); // kept away, or down
      else if (part === form) showCardForm(form);
      else showBank(bank);
    }
  });
})();
