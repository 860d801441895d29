"""Uses the wheel as somebody who has just installed it, under every Python from 3.10 to 3.14 found.

python scripts/dist_trial.py [WHEEL]    by default the one in `dist`

Each Python gets a new environment in a temporary folder outside the checkout. There the wheel alone
plays the Hello World page on an embedded database; then, with the extras `server` and, where it
has a wheel, `native`, `milvine serve` starts on free ports and the client plays the page through
it. Ends with 1 where something went wrong, and says under which Python and what was printed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

ROOT = Path(__file__).parents[1]
PYTHONS = tuple(f"3.{minor}" for minor in range(10, 15))
READY = re.compile(r"^Milvine (?P<version>\S+) ready: grpc (?P<grpc>\S+), http (?P<http>\S+),")
INSTALL_SECONDS, USE_SECONDS, LOOK_SECONDS = 900, 120, 0.1
LINES = 15  # of what a command printed, in an error
ASKED = """
import sys, milvine, milvus
places = [module.__file__ for module in (milvine, milvus)]
strange = [place for place in places if not place.startswith(sys.prefix + "/")]
sys.exit(f"not from the wheel: {strange}" if strange else 0)
"""


class Failed(Exception):
    """Something that a user would do did not work; the text says what and how."""


@dataclass(frozen=True)
class Place:
    """An environment, and a folder beside it to run things in."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "environment" / "bin" / "python"

    @property
    def milvine(self) -> Path:
        return self.python.with_name("milvine")

    def run(self, *command: str | Path, seconds: float = USE_SECONDS) -> str:
        return run(*command, cwd=self.folder, seconds=seconds)

    def install(self, *what: str) -> None:
        pip = (self.python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
        self.run(*pip, *what, seconds=INSTALL_SECONDS)


def run(*command: str | Path, cwd: Path, seconds: float) -> str:
    """What the command printed.

    Raises:
        Failed: it could not run, ended with an error, or took too long.
    """
    words = [str(word) for word in command]
    shown = " ".join(["...", *words[-3:]] if len(words) > 4 else words)
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{shown}: {error}") from error
    if done.returncode:
        raise Failed(f"{shown} ended with {done.returncode}:\n{last_lines(done.stdout)}")
    return done.stdout


def environment() -> dict[str, str]:
    """Nothing of the checkout, of another environment, or of Milvine's settings."""
    kept = (k for k in os.environ if not k.startswith(("PYTHON", "MILVINE_", "VIRTUAL_ENV")))
    return {key: os.environ[key] for key in kept}


def last_lines(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines()[-LINES:])


def pythons() -> dict[str, str]:
    """Version and path of each Python here that is to be tried."""
    script = ROOT / "scripts" / "pythons"
    lines = run("sh", script, cwd=ROOT, seconds=USE_SECONDS).splitlines()
    found = dict(line.split(" ", 1) for line in lines if " " in line)
    return {each: found[each] for each in PYTHONS if each in found}


def trial(python: str, wheel: Path, folder: Path) -> str:
    """What was seen, in a few words. `folder` is empty and outside the checkout."""
    place = Place(folder)
    # From the checkout, as `scripts/pythons` is: a shim may choose its version by the folder.
    made = place.python.parents[1]
    run(python, "-m", "venv", made, cwd=ROOT, seconds=INSTALL_SECONDS)
    shutil.copy(ROOT / "examples" / "hello.py", folder)
    place.install(str(wheel))
    place.run(place.python, "-c", ASKED)
    place.run(place.python, "hello.py")
    door = with_extras(place, wheel)
    place.run(place.python, "-m", "pip", "--disable-pip-version-check", "check")
    version = place.run(place.milvine, "version").strip()
    served(place, door, version)
    extras = "server,native" if door == "native" else "server (native has no wheel here)"
    return f"Hello World; with {extras} a server at the door {door}"


def with_extras(place: Place, wheel: Path) -> str:
    """The door that a server then has."""
    try:
        place.install("--only-binary", "pygrpc-native", f"{wheel}[server,native]")
    except Failed as without_native:
        try:
            place.install(f"{wheel}[server]")
        except Failed as error:
            raise error from without_native
        return "grpc"
    place.run(place.python, "-c", "import pygrpc_native")
    return "native"


def served(place: Place, door: str, version: str) -> None:
    """A server from the wheel answers the client and a browser, and ends when it is told to."""
    said = place.folder / "server.log"
    ports = ("--port", "0", "--http-port", "0")
    data = str(place.folder / "data")
    command = [str(place.milvine), "serve", *ports, "--door", door, "--data", data]
    with said.open("w", encoding="utf-8") as output:
        server = subprocess.Popen(
            command,
            cwd=place.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        ready = until_ready(server, said)
        if ready["version"] != version:
            raise Failed(f"the server says it is {ready['version']}, `milvine version` {version}")
        place.run(place.python, "hello.py", "--uri", f"tcp://{ready['grpc']}")
        asked_by_http(ready["http"])
        server.terminate()
        if code := server.wait(USE_SECONDS):
            raise Failed(f"a server told to stop ended with {code}:\n{printed(said)}")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"the server: {error}\n{printed(said)}") from error
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def until_ready(server: subprocess.Popen[bytes], said: Path) -> re.Match[str]:
    """The line that a server prints when it takes calls."""
    end = time.monotonic() + USE_SECONDS
    while server.poll() is None and time.monotonic() < end:
        for line in said.read_text(encoding="utf-8").splitlines():
            if ready := READY.match(line):
                return ready
        time.sleep(LOOK_SECONDS)
    ended = f"ended with {server.returncode}" if server.poll() is not None else "is not ready"
    raise Failed(f"`milvine serve` {ended} (no line with grpc and http):\n{printed(said)}")


def asked_by_http(address: str) -> None:
    with build_opener(ProxyHandler({})).open(f"http://{address}/healthz", timeout=30) as answer:
        if answer.status != 200:
            raise Failed(f"/healthz answered {answer.status}")


def printed(said: Path) -> str:
    return last_lines(said.read_text(encoding="utf-8", errors="replace"))


def tried(version: str, python: str, wheel: Path) -> bool:
    """Whether all went well under this Python; says so."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="milvine-dist-") as folder:
        try:
            seen = trial(python, wheel, Path(folder).resolve())
        except Failed as error:
            print(f"dist: Python {version}: {error}", file=sys.stderr, flush=True)
            return False
    print(f"Python {version}: {seen} ({time.monotonic() - began:.0f} s)", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Installs and uses the wheel")
    parser.add_argument("wheel", nargs="?", type=Path)
    given = parser.parse_args().wheel
    wheels = [given] if given else sorted((ROOT / "dist").glob("milvine-*.whl"))
    if len(wheels) != 1 or not wheels[0].is_file():
        print("dist: there should be one wheel in dist: make dist", file=sys.stderr)
        return 1
    found = pythons()
    if absent := [version for version in PYTHONS if version not in found]:
        print(f"Not on this machine: Python {', '.join(absent)}", flush=True)
    if not found:
        print("dist: no Python from 3.10 to 3.14 was found", file=sys.stderr)
        return 1
    right = [tried(version, python, wheels[0].resolve()) for version, python in found.items()]
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
