"""The stage: pages on which a person finds a scene, replays it, watches it grow, compares it and hands it on.

listing.py finds scenes, shown.py reads one from the record; picture.py, links.py and timeline.py compute what its page
shows, live.py follows a scene while it is played, share.py makes one file of it, fork.py changes a reply of it, and
player.py plays what was begun on a page. Offers `routes` and `Player`.
"""

from .player import Player
from .routes import routes

__all__ = ["Player", "routes"]
