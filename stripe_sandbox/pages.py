"""The pages that people see: the bank's, the sandbox's front page, and where a card form ends."""

from pathlib import Path
from urllib.parse import parse_qs, parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from stripe_sandbox import card_form
from stripe_sandbox.bank import Bank, outcome, return_url
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
    """Renders the pages, takes the buyer's answer, and takes cards."""

    def __init__(self, ledger: Ledger, bank: Bank, merchant: str) -> None:
        self._ledger = ledger
        self._merchant = merchant
        self._bank = bank
        self._templates = Environment(
            loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined
        )
        self._templates.filters["money"] = format_amount

    def routes(self) -> list[Route]:
        """The front page, the bank's page, their style sheet, and where a card form is sent."""
        return [
            Route("/", self.front, methods=["GET"]),
            Route("/_sandbox/style.css", self.style, methods=["GET"]),
            Route("/_sandbox/cards", self.take_card, methods=["POST"]),
            Route("/authenticate", self.ask, methods=["GET"]),
            Route("/authenticate", self.decide, methods=["POST"]),
        ]

    async def front(self, request: Request) -> Response:
        """Test cards and recent payment intents."""
        recent = [
            intent.body
            for intent, _ in zip(self._ledger.page("payment_intent"), range(RECENT), strict=False)
        ]
        return self._page("front.html", cards=CARDS, intents=recent)

    async def style(self, request: Request) -> Response:
        """The style sheet of every page."""
        return Response((_HERE / "style.css").read_bytes(), media_type="text/css")

    async def take_card(self, request: Request) -> Response:
        """Make a payment method of the form's card, and send the buyer back with its id.

        Any page may send such a form, since that is what it is for: it moves no money, and what
        comes of it goes to this machine only.
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
        back = card_form.way_back(self._ledger, fields)
        return RedirectResponse(back, status_code=303, headers=_SECURITY)

    async def ask(self, request: Request) -> Response:
        """Ask the buyer, or say what became of the payment."""
        intent = self._bank.find(request.query_params.get("client_secret", ""))
        if intent is None:
            return self._unknown()
        asked = request.query_params.get("return_url")
        if intent.body["status"] != "requires_action":
            heading, sentence = outcome(intent.body)
            back = return_url(intent, asked)
            return self._page(
                "outcome.html", heading=heading, sentence=sentence, intent=intent.body, back=back
            )
        return self._page("ask.html", intent=intent.body, merchant=self._merchant)

    async def decide(self, request: Request) -> Response:
        """Take the answer, then send the buyer back or say what is true now."""
        secret = request.query_params.get("client_secret", "")
        intent = self._bank.find(secret)
        if intent is None:
            return self._unknown()
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
        heading, sentence = outcome(intent.body)
        return self._page(
            "outcome.html", heading=heading, sentence=sentence, intent=intent.body, back=back
        )

    def _unknown(self) -> Response:
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
