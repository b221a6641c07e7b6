"""What `matrix-align serve` serves: one ASGI app with the gateway and the pages.

Each part offers `routes(…)` and can be mounted without the others. app.py mounts them, guard.py stands in front of all
of them, server.py runs the app. Knows no command line.
"""
