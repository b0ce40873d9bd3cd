"""`animdiff doctor`: check the installation."""

from animdiff_cli.cli.options import JsonOpt, QuietOpt
from animdiff_cli.cli.out import print_err, print_json, print_row

MARKS = {"ok": "ok    ", "note": "note  ", "broken": "BROKEN"}
WIDTH = 13


def doctor(json_: JsonOpt = False, quiet: QuietOpt = False) -> None:
    """Check Python, torch, device, memory, ffmpeg, disk, tokens and catalog, with remedies.

    Exits with code 0 unless a check is broken. `--quiet` prints only notes and broken checks.
    """
    import typer

    from animdiff_cli.jobs.doctor import run_checks

    broken = []
    for finding in run_checks():
        if finding.status == "broken":
            broken.append(finding)
        if json_:
            print_json(finding.record())
        elif not quiet or finding.status != "ok":
            print_row(f"{MARKS[finding.status]}  {finding.what:<{WIDTH}}  ", finding.found)
            if finding.remedy:
                print_row(f"{'':<{WIDTH + 8}}  ", finding.remedy)
    if broken:
        if not (json_ or quiet):
            print_err(f"{len(broken)} broken: {', '.join(finding.what for finding in broken)}")
        raise typer.Exit(broken[0].exit_code)
