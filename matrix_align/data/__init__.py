"""Data in and data out: questions from files and data sets, and runs as training data.

`sources` is the door in and `export` the door out. Knows no model, server or method.
"""
