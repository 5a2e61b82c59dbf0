"""Replies and traces to look at: in the terminal, in a notebook, and as one page for the browser."""
