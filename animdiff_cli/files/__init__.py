"""Files, whatever is in them: atomic writes, hashes, untrusted JSON, and readable errors of the operating system."""
