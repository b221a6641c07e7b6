"""Everything behind `Model.ask`: servers, weights, typed replies, the record in front of a model.

Knows nothing of scenes and methods.
"""
