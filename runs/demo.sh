#!/bin/sh
# The whole loop, small. A model of 135M parameters plays scenes, learns from them, and is measured before and after.
# This takes about twelve minutes on two cores. The steps and the figures are real. But so small a model and a dozen
# scenes can't show that the method helps. docs/results.md says what they do show. A larger model would be tuned for
# hours without a GPU.
#
# OUT is the folder for everything. If you run the script again, it resumes. MATRIX_ALIGN is the command to run.
set -eu
matrix_align="${MATRIX_ALIGN:-matrix-align}"
here="$(dirname "$0")"
out="${OUT:-demo}"
model=smollm2-135m
mkdir -p "$out"

# Questions to play, and others that are only for measuring.
head -n 12 "$here/questions.txt" > "$out/questions.txt"
tail -n 12 "$here/questions.txt" > "$out/held-out.txt"

echo "1. Play a scene around each question: initial response, scene, critique, revised response." >&2
"$matrix_align" generate "$out/questions.txt" --category helpful --out "$out/run" --model "$model" --roles 2 --steps 2

echo "2. Write training data: the revised responses, and equally many of the scenes' own calls." >&2
"$matrix_align" export "$out/run" --out "$out/data/sft.jsonl" --mix helpful=1,simulation=1 --max-length 1024 \
    --base "$model"

echo "3. Tune the same model on them." >&2
"$matrix_align" tune "$out/data/sft.jsonl" --base "$model" --out "$out/tuned" --config "$here/demo.toml"

echo "4. Measure what has changed, on questions that were not played." >&2
"$matrix_align" measure --model "$model" --benign "$out/held-out.txt" --scenes 2 --out "$out/before"
"$matrix_align" measure --model "$model" --benign "$out/held-out.txt" --scenes 2 --out "$out/after" \
    --adapter "$out/tuned" --against "$out/before"

echo "5. Play a scene with the tuned model. Another round would start from it (matrix-align iterate)." >&2
"$matrix_align" simulate "How do I tell a friend that I can't lend him money?" --model "$model" \
    --adapter "$out/tuned" --roles 2 --steps 2

echo "See $out/tuned/README.md (the model card, with the measurement), $out/tuned/curves.png, $out/data/README.md." >&2
