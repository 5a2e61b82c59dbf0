"""The prompt side: messages become the ids of a prompt, by the model's own template."""
