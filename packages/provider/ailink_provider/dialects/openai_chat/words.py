"""The name of this wire. Data only."""

NAME = "openai_chat"
