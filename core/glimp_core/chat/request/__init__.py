"""The requirements for a reply: tools, and the form of the output."""
