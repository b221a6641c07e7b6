#!/bin/sh
# One scene on the embedded model, from nothing: the weights are fetched on the first run.
# QUESTION is yours to choose; MATRIX_ALIGN is the command to run.
set -eu

# A small cast and a short plan: about a minute on two cores.
"${MATRIX_ALIGN:-matrix-align}" simulate "${QUESTION:?set QUESTION to what a user would ask}" --roles 3 --steps 4

# The scene is in the record now.
"${MATRIX_ALIGN:-matrix-align}" scenes --limit 1
