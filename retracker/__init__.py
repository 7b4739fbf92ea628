"""ReTracker: follow any points through a video, online and causally."""
