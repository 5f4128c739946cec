"""Sources of class-agnostic boxes for the open-vocabulary detector."""
