"""People rate pairs of answers: what is shown to whom, every rating in a file, and what the ratings say.

`types` has the objects. `design` draws which pairs there are, and each rater's order and sides. `store` keeps all of it
in one SQLite file; `folder` makes and opens the folder that holds it. `alpha` computes Krippendorff's alpha, `raters`
what is known of each rater, `judge` the agreement with a comparison. `figures` puts them together, `report` shows them.
`export` writes ratings for other tools. Who wins a pair, and every figure of it, is `evals.pairwise`'s. Nothing here
knows a page.
"""
