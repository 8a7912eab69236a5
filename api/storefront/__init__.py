"""The storefront: server-rendered pages over the same services as the JSON routes.

Everything works without JavaScript. Scripts only update open pages and embed the card form.
"""
