"""Test cards, as people type them: https://docs.stripe.com/testing"""

VISA = "4242 4242 4242 4242"
DECLINED = "4000 0000 0000 0002"
WITHOUT_FUNDS = "4000 0000 0000 9995"
ASKS_AT_THE_BANK = "4000 0027 6000 3184"
ASKS_AT_THE_BANK_AND_IS_DECLINED = "4000 0084 0000 1629"
MISTYPED = "4242 4242 4242 4241"

CARD_NUMBERS = frozenset(
    card.replace(" ", "")
    for card in (
        VISA,
        DECLINED,
        WITHOUT_FUNDS,
        ASKS_AT_THE_BANK,
        ASKS_AT_THE_BANK_AND_IS_DECLINED,
        MISTYPED,
    )
)
