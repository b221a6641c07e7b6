"""The prompts of the methods, a folder for each. They are ours, in the sense of each method's source."""
