"""ChatGlimp: a pair of models as one LangChain chat model."""
