"""A small stand-in for Stripe.js, where Stripe's own cannot be reached."""

import json
from collections.abc import Callable
from typing import Any

from playwright.async_api import Page, Route

Answer = Callable[..., Any]

SCRIPT = """
    window.Stripe = (key) => {
        askTest("Stripe", key);
        return {
            elements: (options) => {
                askTest("elements", options);
                return {
                    create: (type) => {
                        askTest("create", type);
                        const listeners = {};
                        return {
                            on: (event, listener) => { listeners[event] = listener; },
                            mount: (place) => {
                                askTest("mount", place);
                                const frame = document.createElement("iframe");
                                frame.src = "https://js.stripe.com/v3/elements-inner.html";
                                frame.title = "Secure payment input frame";
                                frame.addEventListener(
                                    "load", async () => listeners[await askTest("load")]()
                                );
                                document.querySelector(place).append(frame);
                            },
                        };
                    },
                    submit: () => askTest("submit"),
                };
            },
            createPaymentMethod: async () => {
                await fetch("https://api.stripe.com/v1/payment_methods", {method: "POST"});
                return askTest("createPaymentMethod");
            },
            handleNextAction: async ({clientSecret}) => {
                const frame = document.createElement("iframe");
                frame.src = "https://hooks.stripe.com/3d_secure_2/hosted";
                frame.title = "Your bank";
                document.body.append(frame);
                await new Promise((resolve) => frame.addEventListener("load", resolve));
                return askTest("handleNextAction", clientSecret);
            },
        };
    };
"""


class FakeStripe:
    """Serves pages what Stripe would, remembers what they call, and answers as it was told to.

    It uses the hosts that Stripe.js uses (js, api and hooks), so that a content security policy
    which forbids one of them is noticed.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, Answer] = {
            "load": lambda: "ready",
            "submit": dict,
            "createPaymentMethod": lambda: {"paymentMethod": {"id": "pm_card_visa"}},
            "handleNextAction": lambda client_secret: {"paymentIntent": {}},
        }

    async def stand_in_on(self, page: Page) -> None:
        """Take Stripe's place on this page."""
        await page.expose_function("askTest", self._asked)
        await page.route("https://js.stripe.com/v3/", self._script)
        await page.route("https://js.stripe.com/v3/elements-inner.html", self._frame)
        await page.route("https://hooks.stripe.com/**", self._frame)
        await page.route("https://api.stripe.com/**", self._api)

    def calls_of(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of every call."""
        return [tuple(arguments) for called, *arguments in self.calls if called == name]

    def _asked(self, name: str, *arguments: Any) -> Any:
        self.calls.append((name, *arguments))
        answer = self.answers.get(name)
        return answer(*arguments) if answer else None

    async def _script(self, route: Route) -> None:
        await route.fulfill(content_type="text/javascript", body=SCRIPT)

    async def _frame(self, route: Route) -> None:
        page = "<!doctype html><html lang=en><title>Stripe</title><main><h1>Card</h1></main>"
        await route.fulfill(content_type="text/html", body=page)

    async def _api(self, route: Route) -> None:
        headers = {"Access-Control-Allow-Origin": "*"}
        await route.fulfill(headers=headers, body=json.dumps({"id": "pm_card_visa"}))
