// Sends the card to the Stripe sandbox, and only the payment method's id to us. Without scripts
// the form is posted to the sandbox, which redirects back with the id.
(() => {
  "use strict";
  const REQUEST_TIMEOUT = 20_000; // milliseconds
  const UNREACHABLE = "Stripe cannot be reached at the moment. Nothing was charged.";

  function showError(message) {
    const error = document.getElementById("card-error");
    if (!error) return; // the form was replaced meanwhile
    error.textContent = message;
    error.hidden = false;
  }

  function setBusy(form, isBusy) {
    const button = form.querySelector("button");
    button.dataset.label ??= button.textContent;
    button.textContent = isBusy ? "Paying …" : button.dataset.label;
    button.disabled = isBusy;
  }

  async function createPaymentMethod(form) {
    const { number, expiry, cvc } = form.elements;
    const digits = expiry.value.replace(/\s/g, "");
    const [month, year] = digits.includes("/") ? digits.split("/") : [digits.slice(0, 2), digits.slice(2)];
    const answer = await fetch(`${form.dataset.sandbox}/v1/payment_methods`, {
      method: "POST",
      headers: { Authorization: `Bearer ${form.dataset.publishableKey}` },
      body: new URLSearchParams({
        type: "card",
        "card[number]": number.value,
        "card[exp_month]": month,
        "card[exp_year]": year,
        "card[cvc]": cvc.value,
      }),
      credentials: "omit",
      signal: AbortSignal.timeout(REQUEST_TIMEOUT),
    });
    return answer.json();
  }

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (form.id !== "sandbox-card") return;
    event.preventDefault();
    if (form.querySelector("button").disabled) return;
    setBusy(form, true);
    try {
      const created = await createPaymentMethod(form);
      const pay = document.getElementById("pay"); // gone if the reservation has expired meanwhile
      if (created.error || !pay) {
        showError(created.error?.message ?? "");
        setBusy(form, false);
        return;
      }
      pay.elements.payment_method.value = created.id;
      pay.submit();
    } catch {
      showError(UNREACHABLE);
      setBusy(form, false);
    }
  });
})();
