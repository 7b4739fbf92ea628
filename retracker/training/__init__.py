"""The Lightning side of training: steps, schedules, callbacks."""
