"""What is asked of a reply: tools, and what the output must be."""
