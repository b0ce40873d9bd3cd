"""`python -m animdiff_cli`: the command line, for launchers that start modules."""

from animdiff_cli.cli import main

if __name__ == "__main__":
    main()
