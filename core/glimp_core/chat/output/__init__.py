"""The output side of a reply: token ids become text, thinking and calls."""
