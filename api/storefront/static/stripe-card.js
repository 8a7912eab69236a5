// Stripe's Payment Element: the card is typed into Stripe's frame, which creates a payment method
// and shows the bank's page if authentication is required.
// Source: https://docs.stripe.com/payments/finalize-payments-on-the-server
(() => {
  "use strict";
  const UNREACHABLE = "Stripe cannot be reached at the moment. Nothing was charged; reload this page to try again.";

  const CANNOT_AUTHENTICATE = "Stripe cannot be reached at the moment. Reload this page to try again.";

  let stripe = null;

  function showError(error, message) {
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
    element.on("loaderror", () => showError(error, UNREACHABLE));
    element.mount("#payment-element");
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (button.disabled) return;
      button.disabled = true;
      const submitted = await elements.submit();
      const created = submitted.error ? submitted : await stripe.createPaymentMethod({ elements });
      const pay = document.getElementById("pay"); // gone if the reservation has expired meanwhile
      if (created.error || !pay) {
        showError(error, created.error?.message ?? "");
        button.disabled = false;
        return;
      }
      pay.elements.payment_method.value = created.paymentMethod.id;
      pay.submit();
    });
  }

  function showAuthentication(container) {
    stripe ??= Stripe(container.dataset.publishableKey);
    const button = container.querySelector("button");
    button.disabled = false;
    button.addEventListener("click", async () => {
      button.disabled = true;
      const { error } = await stripe.handleNextAction({ clientSecret: container.dataset.clientSecret });
      if (!error) return location.assign(container.dataset.back);
      showError(container.querySelector(".error"), error.message);
      button.disabled = false;
    });
  }

  document.addEventListener("htmx:load", () => {
    const form = document.querySelector("#stripe-card:not([data-shown])");
    const authentication = document.querySelector("#authenticate:not([data-shown])");
    for (const part of [form, authentication]) {
      if (!part) continue;
      part.dataset.shown = "";
      if (!window.Stripe) showError(part.querySelector(".error"), part === form ? UNREACHABLE : CANNOT_AUTHENTICATE); // blocked, or down
      else if (part === form) showCardForm(form);
      else showAuthentication(authentication);
    }
  });
})();
