"""Record the transcripts in `docs/guides/models.md` by running commands against a local mirror of the Hub.

`python -m tools.docs.transcripts` runs every scene in an empty home folder and writes its output between the marks in
the guide; `--check` compares it, except for sizes, dates and speeds that differ between runs. The mirror is the test
server of fetch; no network is used.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.fetch.server import Site

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "models.md"
MODULE = ROOT / "animdiff_cli" / "pocket" / "motion_module.safetensors"
ANIMDIFF = "import sys; sys.argv[0] = 'animdiff'; from animdiff_cli.cli import main; main()"
NOWHERE = "http://127.0.0.1:9"
SECONDS_PER_BLOCK = 0.008  # per 16 KiB: slow enough to press Ctrl-C
BLOCK = re.compile(r"(<!-- transcript: (?P<name>[\w-]+) -->\n```console\n)(?P<text>.*?)(?=```\n)", re.DOTALL)
#: lines that differ between runs or machines
VOLATILE = re.compile(
    r"^(?!\$).*( free on the disk| % of | resumes at | recorded | of memory|animdiff-out/).*$", re.MULTILINE
)


@dataclass(frozen=True)
class World:
    """A user's home folder, and local servers in place of the Hub."""

    home: Path
    hub: Site
    storage: Site

    def run(self, command: str, *, reach: bool = True, interrupt_at: str | None = None) -> str:
        """Run a command line of animdiff; return it with its interleaved stdout and stderr."""
        words = command.removeprefix("animdiff ").split()
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
        environ |= {"HF_ENDPOINT": self.hub.url if reach else NOWHERE, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        if (self.home / "ComfyUI").exists():
            environ["ANIMDIFF_EXTRA_MODELS"] = str(self.home / "ComfyUI")
        process = subprocess.Popen(
            [sys.executable, "-c", ANIMDIFF, *words],
            env=environ,
            cwd=self.home,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if interrupt_at and interrupt_at in line:
                process.send_signal(signal.SIGINT)
                printed += "^C\n"
                interrupt_at = None
        process.wait()
        shown = re.sub(r"127\.0\.0\.1(:\d+)?", "huggingface.co", printed.replace(str(self.home), "~"))
        status = f"$ echo $?\n{process.returncode}\n" if process.returncode else ""
        return f"$ {command}\n{shown}{status}"

    @property
    def file(self) -> Path:
        """Path of the module after it is fetched."""
        return self.home / ".local" / "share" / "animdiff" / "models" / "motion-module" / "ink_motion.safetensors"

    def slow_down(self, seconds_per_block: float) -> None:
        """Set the speed of the mirror."""
        for path, file in self.storage.files.items():
            self.storage.files[path] = replace(file, seconds_per_block=seconds_per_block)

    def spoil(self) -> None:
        """Flip one bit of the fetched file."""
        content = bytearray(self.file.read_bytes())
        content[-1] ^= 1
        self.file.write_bytes(content)


def dry_run(world: World) -> str:
    return world.run("animdiff fetch --dry-run motion modules", reach=False)


def add(world: World) -> str:
    words = "--kind motion-module --base pocket --set steps=12 --trigger ink"
    return world.run(f"animdiff models add ink hf:you/ink/ink_motion.safetensors {words}")


def cut(world: World) -> str:
    world.slow_down(SECONDS_PER_BLOCK)
    first = world.run("animdiff fetch ink", interrupt_at=" 30 % of ")
    world.slow_down(0)
    return first + world.run("animdiff fetch --dry-run ink") + world.run("animdiff fetch ink")


def listed(world: World) -> str:
    return world.run("animdiff models list") + world.run("animdiff models list --all --kind motion-lora")


def shown(world: World) -> str:
    return world.run("animdiff models show ink")


def used(world: World) -> str:
    prompt = "--prompt fireworks"
    return world.run(f"animdiff generate --model pocket --motion-module ink {prompt} --seed 7 --dry-run")


def external(world: World) -> str:
    theirs = world.home / "ComfyUI" / "models" / "animatediff_models" / "theirs.safetensors"
    theirs.parent.mkdir(parents=True)
    shutil.copy(MODULE, theirs)
    listed = world.run("animdiff models list --kind motion-module")
    return f"$ export ANIMDIFF_EXTRA_MODELS=~/ComfyUI\n{listed}" + world.run("animdiff models path theirs")


def verified(world: World) -> str:
    sound = world.run("animdiff models verify")
    world.spoil()
    return sound + "… one bit of the file is flipped …\n" + world.run("animdiff models verify ink")


def removed(world: World) -> str:
    return world.run("animdiff models rm ink --yes") + world.run("animdiff models path ink")


#: in the order in which a user would run them; each depends on the previous ones
SCENES: tuple[tuple[str, Callable[[World], str]], ...] = (
    ("dry-run", dry_run),
    ("add", add),
    ("cut", cut),
    ("list", listed),
    ("show", shown),
    ("use", used),
    ("external", external),
    ("verify", verified),
    ("rm", removed),
)


def play() -> Iterator[tuple[str, str]]:
    """Run every scene in an empty home folder; yield name and transcript."""
    with tempfile.TemporaryDirectory() as folder, Site() as hub, Site() as storage:
        hub.put_repository("you/ink", {"ink_motion.safetensors": MODULE.read_bytes()}, storage)
        world = World(Path(folder), hub, storage)
        for name, scene in SCENES:
            yield name, scene(world)
        hub.shutdown()
        storage.shutdown()


def lasting(text: str) -> str:
    """Remove what differs between runs."""
    return VOLATILE.sub("", text)


def main() -> None:
    """Update the transcripts of the guide, or report those that differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    scenes, guide = dict(play()), GUIDE.read_text(encoding="utf-8")
    recorded = {match["name"]: match["text"] for match in BLOCK.finditer(guide)}
    stale = [name for name in scenes if lasting(scenes[name]) != lasting(recorded.get(name, ""))]
    if not check:
        GUIDE.write_text(BLOCK.sub(lambda match: match[1] + scenes[match["name"]], guide), encoding="utf-8")
    print(f"changed: {', '.join(stale) or 'nothing'}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
