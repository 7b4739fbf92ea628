"""Numbers from arrays: how good a prediction is."""
