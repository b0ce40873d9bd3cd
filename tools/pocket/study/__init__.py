"""The pocket study: the claims of the paper, tested on the pocket world with the commands of the program."""

from tools.pocket.study.command import main

__all__ = ["main"]
