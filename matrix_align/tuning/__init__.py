"""Fine-tuning: the one part that needs torch, TRL and PEFT."""

import os

# PyTorch's threads wait for each other some thousand times a second. By default they spin for milliseconds first, and
# beside any other work on the same cores then hardly move. Read when the library loads.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
