"""From an address to a whole, verified file on this machine: one downloader for the Hub, Civitai and the web."""
