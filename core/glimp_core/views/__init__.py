"""Views of replies and traces: in the terminal, in a notebook, and as a web page."""
