"""Download weights from the Hugging Face Hub, Civitai and plain URLs: resumable, verified, atomic."""
