"""What each command does once its flags are read. Not imported for `--help`: torch is slow."""
