#!/bin/sh
# One scene on the embedded model. The first run downloads the weights.
# QUESTION is what a user would ask. MATRIX_ALIGN is the command to run.
set -eu

# A small cast and a short plan take about a minute on two cores.
echo "The model starts, which takes some ten seconds, and plays a scene around your question." >&2
"${MATRIX_ALIGN:-matrix-align}" simulate "${QUESTION:?set QUESTION to what a user would ask}" --roles 3 --steps 4

echo "The scene is in the record now. \`matrix-align scenes\` lists what is there:" >&2
"${MATRIX_ALIGN:-matrix-align}" scenes --limit 1
