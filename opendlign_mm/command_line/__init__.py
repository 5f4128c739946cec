"""Shared parts of the commands in ``tools/``: options, required inputs, errors meant for the user."""
