"""What an alias means: catalog entries, and where their files are on this machine."""
