"""What a model does on held-out questions, as figures with their intervals.

answers asks the questions and plays scenes; preference compares two replies by their likelihood; a measurement is all
that was found of one model, as a file; statistics has the intervals; rounds says what has become worse; report and plot
show it. Nothing here tunes, or decides what is generated. Whether a text refuses is told by data/refusal.py, because
the export counts refusals too.
"""
