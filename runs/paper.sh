#!/bin/sh
# The loop at the paper's size on a GPU server: 6,000 helpful and 6,000 harmful questions, 5 roles, 5 steps, 18,000 rows.
# We have not run this, because no GPU was at hand. The commands are those of demo.sh. docs/scale.md estimates what it
# costs.
#
# MODEL is a name on the hub or a folder. HELPFUL and HARMFUL are sources. The paper does not say exactly which questions it
# used, so name your own if you know better. You need vllm and matrix-align[tune].
set -eu
model="${MODEL:?set MODEL to what vllm serves}"
helpful="${HELPFUL:-hf:databricks/databricks-dolly-15k:train:instruction}"
harmful="${HARMFUL:-pku-saferlhf}"
held_out="${HELD_OUT:-hf:HuggingFaceH4/no_robots:test:prompt}" # benign questions that neither source has
out="${OUT:-paper}"
url=http://localhost:8000/v1

served() { # serves the model $1 until stopped
    vllm serve "$1" --port 8000 --enable-prefix-caching --max-model-len 16384 &
    server=$!
    trap 'kill $server' EXIT
    until curl --silent --fail --output /dev/null "$url/models"; do
        kill -0 $server # fails if the server has ended, and so ends this script
        sleep 5
    done
}
stopped() {
    kill $server
    wait $server || true
    trap - EXIT
}

# 1. Play the scenes, and measure the base.
served "$model"
matrix-align generate "$helpful" --category helpful --limit 6000 --shuffle 0 --out "$out/run" --endpoint $url
matrix-align generate "$harmful" --category harmful --limit 6000 --shuffle 0 --out "$out/run" --endpoint $url
matrix-align measure --harmful advbench --benign "$held_out" --limit 500 --scenes 50 --endpoint $url --out "$out/before"
stopped

# 2. Tune on 6,000 rows of each kind. The defaults of `tune` are the paper's LoRA and learning rate. On N GPUs the batch is
# N times 16.
matrix-align export "$out/run" --out "$out/data/sft.jsonl" --mix helpful=1,harmful=1,simulation=1 --test 0.02 \
    --max-length 1024 --base "$model"
accelerate launch -m matrix_align tune "$out/data/sft.jsonl" --base "$model" --out "$out/tuned" --merge

# 3. Measure the tuned model.
served "$out/tuned/merged"
matrix-align measure --harmful advbench --benign "$held_out" --limit 500 --scenes 50 --endpoint $url --out "$out/after" \
    --against "$out/before" --card "$out/tuned"
stopped
