"""From messages to the ids of a prompt, by the model's own template."""
