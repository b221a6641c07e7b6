#!/bin/sh
# One scene on the model that is taken where none is named. The first run fetches it.
# QUESTION is what a user would ask. MATRIX_ALIGN is the command to run.
set -eu

cat >&2 <<END
The model has 1.1 GB. It is fetched once, with the time left shown meanwhile.
Then it plays a scene of 2 roles and 2 steps around your question, which takes
some minutes on two cores. Each part is printed as soon as it is there.
END
"${MATRIX_ALIGN:-matrix-align}" simulate "${QUESTION:?set QUESTION to what a user would ask}" --roles 2 --steps 2

echo "The scene is in the record now. \`matrix-align scenes\` lists what is there:" >&2
"${MATRIX_ALIGN:-matrix-align}" scenes --limit 1
