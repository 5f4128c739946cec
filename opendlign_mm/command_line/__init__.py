"""What the commands in ``tools/`` share: options, required inputs, errors meant for the user."""
