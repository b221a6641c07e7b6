#!/bin/sh
# One scene on the embedded model. The first run downloads the weights.
# QUESTION is what a user would ask. MATRIX_ALIGN is the command to run.
set -eu

# A small cast and a short plan take about a minute on two cores.
"${MATRIX_ALIGN:-matrix-align}" simulate "${QUESTION:?set QUESTION to what a user would ask}" --roles 3 --steps 4

# Now the scene is in the record.
"${MATRIX_ALIGN:-matrix-align}" scenes --limit 1
