"""The formats in which model families write thinking and tool calls, one file for each family."""
