// Sends the card from the form to the Stripe sandbox, and only the payment method's id to us.
// Without scripts the form is posted to the sandbox, which sends the browser back with the id.
(() => {
  "use strict";
  const PATIENCE = 20_000; // milliseconds
  const UNREACHABLE = "Stripe cannot be reached at the moment. Nothing was charged.";

  function complain(message) {
    const error = document.getElementById("card-error");
    if (!error) return; // the page says something else by now
    error.textContent = message;
    error.hidden = false;
  }

  function setBusy(form, isBusy) {
    const button = form.querySelector("button");
    button.dataset.says ??= button.textContent;
    button.textContent = isBusy ? "Paying …" : button.dataset.says;
    button.disabled = isBusy;
  }

  async function make(form) {
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
      signal: AbortSignal.timeout(PATIENCE),
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
      const made = await make(form);
      const pay = document.getElementById("pay"); // gone, if time has run out meanwhile
      if (made.error || !pay) {
        complain(made.error?.message ?? "");
        setBusy(form, false);
        return;
      }
      pay.elements.payment_method.value = made.id;
      pay.submit();
    } catch {
      complain(UNREACHABLE);
      setBusy(form, false);
    }
  });
})();
