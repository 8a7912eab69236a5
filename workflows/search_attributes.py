"""What operators search orders by; registered by the set-up of each environment."""

from typing import Any

from temporalio.common import SearchAttributeKey

ORDER_STATUS = SearchAttributeKey.for_keyword("OrderStatus")
TICKET_ID = SearchAttributeKey.for_keyword("TicketId")
BUYER_ID = SearchAttributeKey.for_keyword("BuyerId")
SELLER_ID = SearchAttributeKey.for_keyword("SellerId")
PAYMENT_INTENT_ID = SearchAttributeKey.for_keyword("PaymentIntentId")
RESERVATION_EXPIRES_AT = SearchAttributeKey.for_datetime("ReservationExpiresAt")

SEARCH_ATTRIBUTES: list[SearchAttributeKey[Any]] = [
    ORDER_STATUS,
    TICKET_ID,
    BUYER_ID,
    SELLER_ID,
    PAYMENT_INTENT_ID,
    RESERVATION_EXPIRES_AT,
]
