"""All routes of the storefront."""

from fastapi import APIRouter

from api.storefront import accounts, browsing, buying, sales, selling

router = APIRouter(include_in_schema=False)
for module in (browsing, accounts, selling, buying, sales):
    router.include_router(module.router)
