"""What this app is built on: every package by version and hash, each with a licence, all of it listed.

Known weaknesses are asked for by a workflow, as that takes the internet.
"""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
LOCKS = (
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-test.txt",
    "local/node/requirements.txt",
    "tests/runtime/requirements.txt",
)
NODE = ("local/node", "tests/node")


class Locked(NamedTuple):
    """One package of a lock."""

    name: str
    version: str
    marker: str
    hashes: frozenset[str]

    @property
    def here(self) -> bool:
        """Whether this machine's Python gets it."""
        return not self.marker or bool(Requirement(f"{self.name} ; {self.marker}").marker.evaluate())  # type: ignore[union-attr]


LINE = re.compile(r"([a-z0-9][a-z0-9.-]*)==([a-z0-9.+]+)(?: ; ([^\\]+?))?((?: --hash=sha256:[0-9a-f]{64})+)")


def locked(lock: str) -> list[Locked]:
    """The packages of a lock; fails on any line that is not one of them."""
    found = []
    for line in re.sub(r" \\\n\s+", " ", (ROOT / lock).read_text()).splitlines():
        if not line.lstrip().startswith("#"):
            parts = LINE.fullmatch(line)
            assert parts, f"{lock}: not NAME==VERSION with hashes: {line[:80]}"
            found.append(Locked(parts[1], parts[2], parts[3] or "", frozenset(parts[4].split())))
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_each_package_is_pinned_with_hashes(lock: str) -> None:
    found = locked(lock)
    assert found
    text = (ROOT / lock).read_text()
    assert "://" not in text, "no address of an index: whoever installs says whom to trust"
    assert len({(each.name, each.marker) for each in found}) == len(found)


def test_locks_agree_on_what_they_share() -> None:
    seen: dict[tuple[str, str], set[tuple[str, frozenset[str]]]] = {}
    for lock in LOCKS:
        for each in locked(lock):
            seen.setdefault((each.name, each.marker), set()).add((each.version, each.hashes))
    assert {name for name, versions in seen.items() if len(versions) > 1} == set()


def test_whoever_installs_a_lock_wants_hashes() -> None:
    script = (ROOT / "run").read_text()
    [installing] = re.findall(r".*pip install.*", script)
    assert "--require-hashes" in installing
    assert set(re.findall(r"-r (\S+requirements\S*|requirements\S*)", script)) == set(LOCKS)


DEPLOYED = [each for each in locked("requirements.txt") if each.here]


def requirements(each: Locked) -> list[Requirement]:
    """What a package needs on this machine, without extras."""
    wanted = map(Requirement, metadata(each.name).get_all("Requires-Dist") or ())
    return [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]


def test_the_lock_of_what_is_deployed_is_whole_and_fits_together() -> None:
    """As `pip check`, for what is deployed alone."""
    versions = {canonicalize_name(each.name): each.version for each in DEPLOYED}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [("dps-fleet", Requirement(text)) for text in project["dependencies"]]
    wanted += [(each.name, one) for each in DEPLOYED for one in requirements(each)]
    for who, one in wanted:
        version = versions.get(canonicalize_name(one.name))
        assert version, f"{who} needs {one.name}, which requirements.txt does not have"
        assert one.specifier.contains(Version(version), prereleases=True), f"{who} needs {one}"


def test_what_is_installed_is_what_is_locked() -> None:
    for lock in LOCKS[:3]:
        for each in locked(lock):
            if each.here:
                try:
                    assert metadata(each.name)["Version"] == each.version, f"{lock}: {each.name}"
                except PackageNotFoundError:
                    pytest.fail(f"{lock}: {each.name} is not installed; `./run test` installs it")


LICENCES = {
    "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0",
}  # fmt: skip
"""Of packages that are deployed: they ask for no more than to be named (MPL-2.0 also that changed files are
published; none is changed)."""

WORDS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""What packages call licences that they do not name by SPDX's identifiers."""


def licences(name: str) -> set[str]:
    """What a package says of its licence, as SPDX's identifiers."""
    about = metadata(name)
    said = "".join(about.get_all("License-Expression") or ())
    if not said:
        classifiers = [each.rpartition(" :: ")[2] for each in about.get_all("Classifier") or ()]
        named = [WORDS[each] for each in classifiers if each in WORDS]
        short = "".join(about.get_all("License") or ()).strip()
        said = " AND ".join(named) or (WORDS.get(short, short) if "\n" not in short else "")
    return set(re.split(r" (?:OR|AND) ", said))


@pytest.mark.parametrize("each", DEPLOYED, ids=lambda each: each.name)
def test_each_deployed_package_has_a_licence_of_the_list(each: Locked) -> None:
    assert licences(each.name) <= LICENCES, (
        "read its licence, and put it on the list or do without the package"
    )


def command() -> list[str]:
    """What ./run sbom runs, without the set-up."""
    script = (ROOT / "run").read_text().replace("\\\n", " ")
    [options] = re.findall(r'^sbom\)\s+exec "\$python" (.*?) "\$@"', script, re.MULTILINE)
    return [sys.executable, *options.split()]


def test_the_bill_of_materials_lists_what_is_deployed(tmp_path: Path) -> None:
    """The tool holds what it writes to CycloneDX's schema by itself."""
    made = tmp_path / "bom.json"
    ran = subprocess.run(
        [*command(), "--output-file", made], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    bill = json.loads(made.read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "dps-fleet")
    listed = {
        (each["name"], each["version"]): {
            f"--hash=sha256:{digest['content']}"
            for place in each["externalReferences"]
            for digest in place["hashes"]
        }
        for each in bill["components"]
    }
    assert listed == {(each.name, each.version): set(each.hashes) for each in locked("requirements.txt")}
    for each in bill["components"]:
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"
        places = {place["url"] for place in each["externalReferences"]}
        assert [place.endswith(f"/simple/{each['name']}/") for place in places] == [True]


@pytest.mark.parametrize("folder", NODE)
def test_node_packages_are_locked_by_hash_and_name_no_host(folder: str) -> None:
    lock = json.loads((ROOT / folder / "package-lock.json").read_text())
    assert lock["lockfileVersion"] >= 2
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert packages
    for name, each in packages.items():
        assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", each["integrity"]), name
        assert "resolved" not in each, name
    wanted = json.loads((ROOT / folder / "package.json").read_text())
    for version in wanted.get("dependencies", {}).values():
        assert re.fullmatch(r"\d+\.\d+\.\d+(?:-[\w.]+)?", version)


def test_node_packages_run_no_script_when_they_are_installed() -> None:
    [installing] = re.findall(r'"\$\{NPM\[@\]\}" ci .*', (ROOT / "run").read_text())
    assert "--ignore-scripts" in installing


def test_the_workflow_asks_for_known_weaknesses_of_every_lock() -> None:
    text = (ROOT / ".github" / "workflows" / "weaknesses.yml").read_text()
    held = YAML(typ="safe").load(text)
    assert held["on"]["schedule"]
    assert held["on"]["push"] == {"branches": ["main"]}
    scripts = [step.get("run", "") for job in held["jobs"].values() for step in job["steps"]]
    [asked] = re.findall(r"for lock in (.*); do", "\n".join(scripts))
    # The library that the local host is held against runs in tests only, and asks for another Python.
    assert set(asked.split()) == set(LOCKS) - {"tests/runtime/requirements.txt"}
    assert "pip-audit --strict --disable-pip --require-hashes" in text
    [folders] = re.findall(r"for folder in (.*); do", "\n".join(scripts))
    assert tuple(folders.split()) == NODE


def test_a_release_says_what_it_is_made_of() -> None:
    deploy = YAML(typ="safe").load((ROOT / ".github" / "workflows" / "deploy.yml").read_text())
    steps = deploy["jobs"]["deploy"]["steps"]
    [made] = [step["run"] for step in steps if "./run sbom" in step.get("run", "")]
    [kept] = [step["with"]["path"] for step in steps if "upload-artifact" in step.get("uses", "")]
    # Not into the folder that is packaged a step later.
    assert made.endswith('"$RUNNER_TEMP/bill-of-materials.json"')
    assert kept == "${{ runner.temp }}/bill-of-materials.json"
