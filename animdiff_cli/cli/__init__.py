"""Thin Typer commands. Nothing here decides how a clip comes about; nothing elsewhere prints."""

from animdiff_cli.cli.app import app, main

__all__ = ["app", "main"]
