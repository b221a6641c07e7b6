"""Many questions: a run is a folder that keeps them and resumes, and a scheduler answers them on one server or many.

Knows neither how a question is answered nor how a server is asked.
"""
