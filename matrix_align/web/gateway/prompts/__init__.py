"""The prompts of `simulate: auto`."""
