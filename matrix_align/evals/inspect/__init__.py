"""Inspect AI: the methods as its solvers, the benchmarks as its tasks, the scores as its scorers, answers as its logs.

`entry.py` is the package's entry point `inspect_ai`: Inspect imports it, and it registers everything. Only `logs.py` is
used from our side, by `export --format inspect`. Inspect AI is the extra `eval`. It is imported by the modules in this
folder alone, and nothing else imports them when it starts.
"""
