"""`python -m matrix_align` is the `matrix-align` command."""

from .cli import main

main()
