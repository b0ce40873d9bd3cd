"""The pocket study: the paper's claims, trained and measured on the pocket world by the program's own commands."""

from tools.pocket.study.command import main

__all__ = ["main"]
