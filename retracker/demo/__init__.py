"""The local web page: load a video, click points on any frame, watch them tracked, correct them."""
