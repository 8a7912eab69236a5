"""Pages for people with a browser, rendered here, over the same services as the JSON routes.

Everything works without JavaScript. Scripts only make a page follow what happens meanwhile.
"""
