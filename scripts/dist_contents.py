"""Whether the wheel and the sdist of this checkout hold what they should and say what they are.

python scripts/dist_contents.py [FOLDER]    FOLDER has one of each; `dist` by default

`make dist` runs it on what it has built. Ends with 1 and one line for each fault.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from email import message_from_string
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[1]
PACKAGES = ("milvine", "milvus")
PYTHONS = tuple(f"3.{minor}" for minor in range(10, 15))
EXTRAS = {"server", "native", "annoy"}  # which the README tells people to install
# What is beside the packages in a wheel, in its folder NAME-VERSION.dist-info.
INFORMATION = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
SHOWN = 5  # names in one line about files

Files = Mapping[str, bytes]


class Unfit(Exception):
    """There is nothing to look into; the text says why."""


def version() -> str:
    text = (ROOT / "src" / "milvine" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if not found:
        raise Unfit("src/milvine/__init__.py has no __version__")
    return found[1]


def tracked(*, with_new: bool = False) -> set[str]:
    """Files of the checkout that git tracks, `with_new` also those that it would not ignore.

    Empty where git does not know the folder, such as in an unpacked sdist.
    """
    new = ("--cached", "--others", "--exclude-standard") if with_new else ()
    try:
        told = subprocess.run(
            ["git", "ls-files", "-z", *new], cwd=ROOT, capture_output=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return set()
    return {name for name in told.decode().split("\0") if name and (ROOT / name).is_file()}


def sources(checkout: set[str]) -> dict[str, bytes]:
    """Files of the packages as a wheel names them. From disk where git does not know them."""
    names = checkout or {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / "src" / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    roots = tuple(f"src/{package}/" for package in PACKAGES)
    return {
        name.removeprefix("src/"): (ROOT / name).read_bytes()
        for name in names
        if name.startswith(roots)
    }


def files_of_wheel(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name[-1] != "/"}


def files_of_sdist(path: Path) -> dict[str, bytes]:
    """Without the folder that everything in it lies in; what lies elsewhere keeps its name."""
    top, found = f"milvine-{version()}/", {}
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            if not member.isdir():
                held = archive.extractfile(member) if member.isfile() else None
                found[member.name.removeprefix(top)] = held.read() if held else b""
    return found


def listed(what: str, names: set[str]) -> list[str]:
    """A line with the first of these names, or none if there are none."""
    first = sorted(names)[:SHOWN]
    more = [f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return [f"{what}: {', '.join(first + more)}"] if names else []


def wheel_faults(files: Files, checkout: set[str]) -> list[str]:
    """The packages, byte for byte, and what tells pip about them."""
    folder, expected = f"milvine-{version()}.dist-info/", sources(checkout)
    about = {folder + name for name in INFORMATION}
    markers = {f"{package}/py.typed" for package in PACKAGES}
    other = {name for name in expected if name in files and files[name] != expected[name]}
    told = files.get(f"{folder}WHEEL", b"").decode()
    starts = files.get(f"{folder}entry_points.txt", b"").decode()
    return [
        *listed("the wheel lacks", ({*expected} | about | markers) - {*files}),
        *listed("the wheel has what is none of its packages", {*files} - {*expected} - about),
        *listed("the wheel has another text than src of", other),
        *missing_lines("WHEEL", told, "Root-Is-Purelib: true", "Tag: py3-none-any"),
        *missing_lines("entry_points.txt", starts, "milvine = milvine.cli:main"),
        *licence_faults("wheel", files, f"{folder}licenses/LICENSE"),
    ]


def sdist_faults(files: Files, checkout: set[str]) -> list[str]:
    """Exactly what is tracked, which is what the tests run on, and PKG-INFO."""
    needed = {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"}
    stray = {*files} - checkout - {"PKG-INFO"} if checkout else set()
    lacking = "the sdist lacks (see tool.hatch.build.targets.sdist in pyproject.toml)"
    return [
        *listed(lacking, (checkout | needed) - {*files}),
        *listed("the sdist has what is not tracked", stray),
        *licence_faults("sdist", files, "LICENSE"),
    ]


def licence_faults(kind: str, files: Files, name: str) -> list[str]:
    same = files.get(name) == (ROOT / "LICENSE").read_bytes()
    return [] if same else [f"{name} of the {kind} is not the LICENSE of the checkout"]


def missing_lines(name: str, text: str, *lines: str) -> list[str]:
    return [f"{name} lacks the line `{line}`" for line in lines if line not in text.splitlines()]


def metadata_faults(text: str) -> list[str]:
    """Of METADATA in a wheel or PKG-INFO in an sdist."""
    metadata = message_from_string(text)
    fields = {
        "Name": ["milvine"],
        "Version": [version()],
        "License-Expression": ["Apache-2.0"],
        "License-File": ["LICENSE"],
        "Requires-Python": [f">={PYTHONS[0]}"],
        "Description-Content-Type": ["text/markdown"],
    }
    said = {name: metadata.get_all(name, []) for name in fields}
    return [
        *(
            f"{name} is {said[name]}, not {value}"
            for name, value in fields.items()
            if said[name] != value
        ),
        *classifier_faults(metadata),
        *listed("extras are missing", EXTRAS - {*metadata.get_all("Provides-Extra", [])}),
        *listed("URLs lead nowhere", {url for url in urls(metadata) if not is_real(url)}),
        *([] if description(metadata) == readme() else ["the description is not README.md"]),
    ]


def classifier_faults(metadata: Message) -> list[str]:
    """Those of Python name every version that is tried; a licence has a field of its own."""
    classifiers = metadata.get_all("Classifier", [])
    named = {c.rpartition(" :: ")[2] for c in classifiers if re.search(r"Python :: 3\.\d+$", c)}
    licences = {c for c in classifiers if c.startswith("License ::")}
    return [
        *listed("classifiers lack Python", {*PYTHONS} - named),
        *listed("classifiers name a Python that is not tried", named - {*PYTHONS}),
        *listed("classifiers name a licence beside License-Expression", licences),
    ]


def urls(metadata: Message) -> list[str]:
    named = [url.partition(",")[2].strip() for url in metadata.get_all("Project-URL", [])]
    return [*named, *metadata.get_all("Home-page", []), *metadata.get_all("Download-URL", [])]


def is_real(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    made_up = host.endswith(("example.com", "example.org", "localhost", ".invalid"))
    return parts.scheme == "https" and "." in host and not made_up


def description(metadata: Message) -> str:
    return str(metadata.get_payload()).strip()


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8").strip()


def rendering_faults() -> list[str]:
    """The README as PyPI makes a page of it: every heading of it has to be one there."""
    from readme_renderer import markdown  # of the extra `dist`; nothing else here needs it

    page = markdown.render(readme())
    if page is None:
        return ["README.md cannot be rendered: is readme-renderer[md] installed?"]
    text = re.sub(r"^```.*?^```$", "", readme(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^(#+) (.+)$", text, re.MULTILINE)
    lost = {title for marks, title in titles if not re.search(heading(len(marks), title), page)}
    return listed("README.md is rendered without the headings", lost)


def heading(level: int, title: str) -> str:
    return rf"<h{level}[^>]*>(<[^>]+>)*{re.escape(title)}"


def only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise Unfit(f"{folder} should have one {pattern}; it has {names}")
    return found[0]


def faults_in(folder: Path, *, with_new: bool = False) -> list[str]:
    """Of the one wheel and the one sdist in a folder, but for how the README is rendered."""
    checkout = tracked(with_new=with_new)
    wheel = files_of_wheel(only(folder, f"milvine-{version()}-py3-none-any.whl"))
    sdist = files_of_sdist(only(folder, f"milvine-{version()}.tar.gz"))
    metadata = wheel.get(f"milvine-{version()}.dist-info/METADATA", b"")
    return [
        *wheel_faults(wheel, checkout),
        *sdist_faults(sdist, checkout),
        *(f"METADATA: {fault}" for fault in metadata_faults(metadata.decode())),
        *(f"PKG-INFO: {fault}" for fault in metadata_faults(sdist.get("PKG-INFO", b"").decode())),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Looks into the wheel and the sdist")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "dist")
    folder = parser.parse_args().folder
    try:
        faults = [*faults_in(folder), *rendering_faults()]
    except (Unfit, OSError, zipfile.BadZipFile, tarfile.TarError) as error:
        faults = [str(error)]
    except ModuleNotFoundError as error:
        faults = [f"{error.name} is missing: pip install -e '.[dist]'"]
    for fault in faults:
        print(f"dist: {fault}", file=sys.stderr)
    if not faults:
        beside = "" if tracked() else "; without git nothing told which files are tracked"
        print(f"The wheel and the sdist of {version()} hold what they should{beside}.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
