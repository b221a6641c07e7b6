"""Fine-tuning: the one part that needs torch, TRL and PEFT."""

import os

# PyTorch's threads wait for each other about a thousand times a second. By default they spin for milliseconds first,
# so with other work on the same cores they hardly move. The library reads the variable when it loads.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
