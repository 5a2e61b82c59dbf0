"""From the ids of a reply to text, thoughts and calls."""
