#!/bin/sh
# The whole loop, small: the embedded model plays scenes, is tuned on what came of them, and is measured before and after.
# About twelve minutes on two cores. The steps are real and so are the figures; a model of 135M parameters and a
# dozen scenes can't show that the method helps (docs/results.md says what they do show).
#
# OUT is where everything goes; run again, it goes on where it stopped. MATRIX_ALIGN is the command to run.
set -eu
matrix_align="${MATRIX_ALIGN:-matrix-align}"
here="$(dirname "$0")"
out="${OUT:-demo}"
mkdir -p "$out"

# Questions to play, and others that are never played, to measure by.
head -n 12 "$here/questions.txt" > "$out/questions.txt"
tail -n 12 "$here/questions.txt" > "$out/held-out.txt"

echo "1. A scene around each question: initial response, scene, critique, revised response." >&2
"$matrix_align" generate "$out/questions.txt" --category helpful --out "$out/run" --roles 2 --steps 2

echo "2. The revised responses, and as many of the scenes' own calls, as training data." >&2
"$matrix_align" export "$out/run" --out "$out/data/sft.jsonl" --mix helpful=1,simulation=1

echo "3. The same model learns from them." >&2
"$matrix_align" tune "$out/data/sft.jsonl" --out "$out/tuned" --config "$here/demo.toml"

echo "4. What has changed, on questions that were not played." >&2
"$matrix_align" measure --benign "$out/held-out.txt" --scenes 2 --out "$out/before"
"$matrix_align" measure --benign "$out/held-out.txt" --scenes 2 --out "$out/after" --adapter "$out/tuned" \
    --against "$out/before"

echo "5. The tuned model, at once and at its normal speed; another round would start from it (matrix-align iterate)." >&2
"$matrix_align" simulate "How do I tell a friend that I can't lend him money?" --adapter "$out/tuned" --roles 2 --steps 2

echo "Left in $out: tuned/README.md (the model card, with what was measured), tuned/curves.png, data/README.md." >&2
