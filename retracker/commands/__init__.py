"""The shell commands: argument parsing and files, thin."""
