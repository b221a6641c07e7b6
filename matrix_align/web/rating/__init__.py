"""The page on which people rate: `/rate/NAME`, where NAME is the name of a rating's folder.

`pages` has the routes, `form` reads what a page sends. The pages are plain HTML forms: a rating is a POST that is
answered once it is committed, and leads to the next pair. `static/rating.js` adds keys, and nothing depends on it. What
is rated, and what counts, is `evals.rating`'s. Knows no model and no gateway.
"""

from .pages import routes

__all__ = ["routes"]
