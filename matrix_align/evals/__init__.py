"""Measures what a model does on held-out questions, with intervals.

answers asks the questions and plays scenes. preference compares two replies by their likelihood. measurement holds
everything measured about one model, as a file. statistics computes the intervals. rounds decides what has become worse.
report and plot show the results. benchmarks and scores are the parts of an evaluation: questions of which we know what
is wanted, and what an answer to them is worth. pairwise says which of two runs has the better answers. Nothing here
tunes, or decides what is generated. data/refusal decides whether a text refuses, because the export counts refusals
too.
"""
