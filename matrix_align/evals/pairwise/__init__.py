"""Compares runs in pairs: which of two answers to one question is the better one, by a judge or by ratings from a file.

`types` has the pairs and what is said of them, `results` the figures made of that. `pairs` reads runs and makes pairs,
`judge` asks a model about them, `blind` sends them out as a file and reads ratings back. `outcomes` decides who won a
pair. `statistics` and `statistics_models` compute the figures, `compare` puts them together, `report` shows them, and
`folder` keeps a comparison on disk. Nothing here knows how an answer was made.
"""
