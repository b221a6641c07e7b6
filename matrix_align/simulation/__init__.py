"""The social scene of MATRIX: its types, its roles, the modulator, the critique and the revision.

`scene.play()` is the whole method on one screen. Knows no HTTP, no SQLite and no file but its own prompts.
"""
