"""Reading and writing images and video: the only codecs."""
