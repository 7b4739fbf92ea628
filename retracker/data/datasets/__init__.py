"""One file per dataset: files on disk (or a renderer) become samples."""
