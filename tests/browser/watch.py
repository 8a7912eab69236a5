"""What goes wrong in a browser without anybody looking: errors, refusals, leaks."""

import re
from urllib.parse import unquote_plus

from playwright.async_api import BrowserContext, ConsoleMessage, Request, Response, WebError

from tests.browser.cards import CARD_NUMBERS

TOLD_BY_RESPONSES = "the server responded with a status of"
"""The console's line for a response that is refused; those are watched themselves."""


class Watch:
    """Notes what no page should do: console errors (a breach of the content security policy is
    one), exceptions, refusals, failed requests, and card numbers on their way to our API.
    """

    def __init__(self, sandbox: str) -> None:
        self.card_numbers_sent: list[str] = []
        """Where card numbers went, and went rightly: addresses of the sandbox."""
        self._sandbox = sandbox
        self.complaints: list[str] = []
        self._expected: list[str] = []

    def over(self, context: BrowserContext) -> None:
        """Watch a browser from now on."""
        context.on("console", self._hear)
        context.on("weberror", self._see_exception)
        context.on("request", self._see_request)
        context.on("requestfailed", self._see_failure)
        context.on("response", self._see_response)

    def expect(self, complaint: str) -> None:
        """Something with this text in it is what the test is about, such as `409 POST`."""
        self._expected.append(complaint)

    def assert_nothing_went_wrong(self) -> None:
        """Nothing did, except as expected; and what was expected did happen."""
        unexpected = [
            complaint
            for complaint in self.complaints
            if not any(expected in complaint for expected in self._expected)
        ]
        assert not unexpected, "\n".join(unexpected)
        for expected in self._expected:
            assert any(expected in complaint for complaint in self.complaints), expected

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and TOLD_BY_RESPONSES not in message.text:
            self.complaints.append(f"console {message.type}: {message.text}")

    def _see_exception(self, error: WebError) -> None:
        self.complaints.append(f"exception: {error.error}")

    def _see_request(self, request: Request) -> None:
        sent = unquote_plus(f"{request.url} {request.post_data or ''}")
        if not any(number in re.sub(r"[ -]", "", sent) for number in CARD_NUMBERS):
            return
        if request.url.startswith(self._sandbox):
            self.card_numbers_sent.append(request.url)
        else:
            self.complaints.append(f"a card number was sent: {request.method} {request.url}")

    def _see_failure(self, request: Request) -> None:
        # Leaving a page ends its requests and its event stream.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.failure}: {request.method} {request.url}")

    def _see_response(self, response: Response) -> None:
        if response.status >= 400:
            request = response.request
            self.complaints.append(f"{response.status} {request.method} {request.url}")
