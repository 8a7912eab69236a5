"""The pages: the sandbox's front page, the bank's page, and the target of a card form."""

from pathlib import Path
from urllib.parse import parse_qs, parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from stripe_sandbox import card_form
from stripe_sandbox.bank import Bank, outcome_message, return_url
from stripe_sandbox.cards import CARDS
from stripe_sandbox.currencies import format_amount
from stripe_sandbox.ledger import Ledger
from stripe_sandbox.return_urls import is_loopback

RECENT = 25

_HERE = Path(__file__).parent / "templates"
_SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    # The client secret is in this page's address.
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Pages:
    """Renders the pages, and takes the buyer's decision and cards."""

    def __init__(self, ledger: Ledger, bank: Bank, merchant: str) -> None:
        self._ledger = ledger
        self._merchant = merchant
        self._bank = bank
        self._templates = Environment(
            loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined
        )
        self._templates.filters["money"] = format_amount

    def routes(self) -> list[Route]:
        """The front page, the bank's page, the style sheet, and the target of card forms."""
        return [
            Route("/", self.show_front, methods=["GET"]),
            Route("/_sandbox/style.css", self.show_style, methods=["GET"]),
            Route("/_sandbox/cards", self.submit_card, methods=["POST"]),
            Route("/authenticate", self.show_authentication, methods=["GET"]),
            Route("/authenticate", self.submit_decision, methods=["POST"]),
        ]

    async def show_front(self, request: Request) -> Response:
        """Test cards and recent payment intents."""
        recent = [
            intent.body
            for intent, _ in zip(
                self._ledger.objects("payment_intent"), range(RECENT), strict=False
            )
        ]
        return self._page("front.html", cards=CARDS, intents=recent)

    async def show_style(self, request: Request) -> Response:
        """The style sheet of every page."""
        return Response((_HERE / "style.css").read_bytes(), media_type="text/css")

    async def submit_card(self, request: Request) -> Response:
        """Create a payment method from the form's card, and send the buyer back with its id.

        Any page may post such a form: it moves no money, and redirects to loopback addresses only.
        """
        body = (await request.body()).decode(errors="replace")
        fields = dict(parse_qsl(body, keep_blank_values=True))
        if not is_loopback(fields.get("return_url", "")):
            return self._page(
                "notice.html",
                status=400,
                heading="No way back",
                sentence="The form has to name a return_url on this machine. Your card was not "
                "taken.",
            )
        back = card_form.return_url_with_result(self._ledger, fields)
        return RedirectResponse(back, status_code=303, headers=_SECURITY)

    async def show_authentication(self, request: Request) -> Response:
        """Ask the buyer to approve, or show the outcome of the payment."""
        intent = self._bank.find(request.query_params.get("client_secret", ""))
        if intent is None:
            return self._unknown_payment()
        requested = request.query_params.get("return_url")
        if intent.body["status"] != "requires_action":
            heading, sentence = outcome_message(intent.body)
            back = return_url(intent, requested)
            return self._page(
                "outcome.html", heading=heading, sentence=sentence, intent=intent.body, back=back
            )
        return self._page("ask.html", intent=intent.body, merchant=self._merchant)

    async def submit_decision(self, request: Request) -> Response:
        """Apply the decision, then send the buyer back or show the outcome."""
        secret = request.query_params.get("client_secret", "")
        intent = self._bank.find(secret)
        if intent is None:
            return self._unknown_payment()
        decision = parse_qs((await request.body()).decode(errors="replace")).get("decision")
        if decision not in (["approve"], ["decline"]):
            return self._page(
                "outcome.html",
                status=400,
                heading="Please choose",
                sentence="Press Approve or Decline on the bank's page.",
                intent=None,
                back=None,
            )
        taken = self._bank.decide(intent.id, approve=decision == ["approve"])
        intent = self._bank.find(secret) or intent
        back = return_url(intent, request.query_params.get("return_url"))
        if taken and back is not None:
            return RedirectResponse(back, status_code=303, headers=_SECURITY)
        heading, sentence = outcome_message(intent.body)
        return self._page(
            "outcome.html", heading=heading, sentence=sentence, intent=intent.body, back=back
        )

    def _unknown_payment(self) -> Response:
        return self._page(
            "outcome.html",
            status=404,
            heading="Unknown payment",
            sentence="This link names no payment. It may be incomplete.",
            intent=None,
            back=None,
        )

    def _page(self, template: str, *, status: int = 200, **values: object) -> Response:
        html = self._templates.get_template(template).render(**values)
        return HTMLResponse(html, status, headers=_SECURITY)
