#!/bin/sh
# The loop at the paper's size on a GPU server: 6,000 helpful and 6,000 harmful questions, 5 roles, 5 steps, 18,000 rows.
# Not run by us: no GPU was at hand. The commands are those of demo.sh; what it takes is estimated in docs/scale.md.
#
# MODEL is a name on the hub or a folder. HELPFUL and HARMFUL are sources; which questions the paper took is not said
# precisely enough to repeat it, so name your own where you know better. Needs vllm, and matrix-align[tune].
set -eu
model="${MODEL:?set MODEL to what vllm serves}"
helpful="${HELPFUL:-hf:databricks/databricks-dolly-15k:train:instruction}"
harmful="${HARMFUL:-pku-saferlhf}"
held_out="${HELD_OUT:-hf:HuggingFaceH4/no_robots:test:prompt}" # benign questions that are in neither
out="${OUT:-paper}"
url=http://localhost:8000/v1

served() { # MODEL: serves it until `kill $server`
    vllm serve "$1" --port 8000 --enable-prefix-caching --max-model-len 8192 &
    server=$!
    trap 'kill $server' EXIT
    until curl --silent --fail --output /dev/null "$url/models"; do
        kill -0 $server # it has ended: so do we
        sleep 5
    done
}
stopped() {
    kill $server
    wait $server || true
    trap - EXIT
}

# 1. Scenes, and the measurement before.
served "$model"
matrix-align generate "$helpful" --category helpful --limit 6000 --shuffle 0 --out "$out/run" --endpoint $url
matrix-align generate "$harmful" --category harmful --limit 6000 --shuffle 0 --out "$out/run" --endpoint $url
matrix-align measure --harmful advbench --benign "$held_out" --limit 500 --scenes 50 --endpoint $url --out "$out/before"
stopped

# 2. 6,000 rows of each kind; the paper's LoRA and learning rate are the defaults of `tune`. On N GPUs its batch is N times 16.
matrix-align export "$out/run" --out "$out/data/sft.jsonl" --mix helpful=1,harmful=1,simulation=1 --test 0.02
accelerate launch -m matrix_align tune "$out/data/sft.jsonl" --base "$model" --out "$out/tuned" --merge

# 3. The measurement after.
served "$out/tuned/merged"
matrix-align measure --harmful advbench --benign "$held_out" --limit 500 --scenes 50 --endpoint $url --out "$out/after" \
    --against "$out/before" --card "$out/tuned"
stopped
