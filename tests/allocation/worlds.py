"""The pure core as one value, so that the same claims can be put to it and to copies with a planted bug."""

import importlib
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PARTS = (
    "decision", "errors", "evidence", "facts", "fleet", "placement", "reading", "templates", "policy/compile",
    "policy/conditions",
    "policy/document", "policy/matching", "policy/places", "policy/text",
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """One copy of the pure core, by the names of its packages."""

    allocation: str = "allocation"
    provisioning: str = "provisioning"

    def module(self, name: str) -> Any:
        return importlib.import_module(f"{self.allocation}.{name}")

    def policy(self, **document: Any) -> Any:
        model = self.module("policy.document").PolicyDocument.model_validate(document)
        return self.module("policy.compile").compile_policy(model)

    def fleet(
        self,
        *,
        states: Mapping[str, str] | None = None,
        loads: Mapping[str, int] | None = None,
        avoided: Iterable[str] = (),
    ) -> Any:
        fleet = self.module("fleet")
        return fleet.FleetView(
            states={self.key(name): fleet.HubState(state) for name, state in (states or {}).items()},
            loads={self.key(name): load for name, load in (loads or {}).items()},
            avoided=frozenset(map(self.key, avoided)),
        )

    def key(self, name: str) -> Any:
        return importlib.import_module(f"{self.provisioning}.hubs").hub_key(name)

    def facts(
        self,
        device: str,
        hubs: Iterable[str],
        current: str | None = None,
        *,
        context: Mapping[str, Any] | None = None,
        enrollment: Mapping[str, Any] | None = None,
    ) -> Any:
        facts = self.module("facts")
        registrations = importlib.import_module(f"{self.provisioning}.registrations")
        return facts.Facts(
            dps="",
            registration_id=device,
            registration=registrations.registration_key(device),
            linked_hubs=facts.linked(list(hubs)),
            current_hub=None if current is None else self.key(current),
            evidence=self.module("evidence").Told(context or {}, enrollment or {}),
        )

    def decide(self, facts: Any, policy: Any, fleet: Any = None) -> Any:
        return self.module("decision").decide(facts, policy, self.fleet() if fleet is None else fleet)

    def place(self, facts: Any, policy: Any, fleet: Any = None) -> str | None:
        """The host name a device goes to; None where it is not placed."""
        return getattr(self.decide(facts, policy, fleet), "host_name", None)


REAL = World()


@contextmanager
def mutated(folder: Path, file: str, old: str, new: str) -> Iterator[World]:
    """A copy of the core in which one piece of text is another, loaded beside the real one."""
    name = f"mutated{abs(hash((file, old, new)))}"
    names = {"allocation": f"{name}_allocation", "provisioning": f"{name}_provisioning"}
    for part in PARTS:
        _copy(ROOT / "allocation" / f"{part}.py", folder / names["allocation"] / f"{part}.py", names)
    for source in (ROOT / "provisioning").glob("*.py"):
        _copy(source, folder / names["provisioning"] / source.name, names)
    for package in ("", "policy"):
        (folder / names["allocation"] / package / "__init__.py").touch()
    compiled = folder / names["allocation"] / "policy" / "__init__.py"
    compiled.write_text(f"from {names['allocation']}.policy.compile import CompiledPolicy, Rule\n")
    package, _, path = file.partition("/")
    bugged = folder / names[package] / path
    text = bugged.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
    bugged.write_text(text.replace(old, new))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield World(**names)
    finally:
        sys.path.remove(str(folder))
        for module in [each for each in sys.modules if each.startswith(name)]:
            del sys.modules[module]
        shutil.rmtree(folder / names["allocation"])


def _copy(source: Path, target: Path, names: Mapping[str, str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    lines = source.read_text().splitlines()
    for original, other in names.items():
        lines = [
            line.replace(f"from {original}", f"from {other}", 1)
            if line.lstrip().startswith(f"from {original}")
            else line
            for line in lines
        ]
    target.write_text("\n".join(lines) + "\n")
