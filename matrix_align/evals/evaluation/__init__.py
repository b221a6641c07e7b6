"""One evaluation: benchmarks answered by methods, scored, compared in pairs, and put into one report.

`grid` makes the answers, `judging` their scores and `pairing` their comparisons; `evaluate` joins them, in a folder
that `folder` describes. `figures` computes what `report` holds, and `samples` draws pairs to read. `sections` puts it
into words and `tables` (with `pairs_section` and `missing_section`), `plots` draws it, and `page` writes it. How an
answer is scored or a pair decided belongs to `evals/scores` and `evals/pairwise`.
"""
