"""File access for any content: atomic writes, hashes, untrusted JSON, and readable OS errors."""
