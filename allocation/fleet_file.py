"""A fleet as an operator imagines it, for a simulation: what is linked, in which state, how full.

linked: [hub-a.azure-devices.net, hub-d.azure-devices.net]
hubs:
  - {name: hub-a.azure-devices.net, state: draining, devices: 120000}
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from allocation.errors import PolicyError
from allocation.facts import linked
from allocation.fleet import FleetView, HubState
from allocation.policy.text import read_text
from provisioning.hubs import HubKey, hub_key

Name = Annotated[str, Field(min_length=1, max_length=255)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FleetHub(_Strict):
    """A hub, otherwise than it is."""

    name: Name = Field(description="Host name of the hub.")
    state: HubState | None = Field(
        default=None,
        description="`open`, `cordoned`, `draining` or `disabled`, for the draft alone. Left out: as it is.",
    )
    devices: int | None = Field(
        default=None, ge=0, description="How many devices it has, on both sides. Left out: as last counted."
    )


class FleetFile(_Strict):
    """What a simulation imagines of the fleet."""

    linked: tuple[Name, ...] | None = Field(
        default=None,
        description="The hubs that DPS would link, for the draft alone, in place of those each device names.",
    )
    hubs: tuple[FleetHub, ...] = Field(default=(), description="Hubs that are otherwise than they are.")

    @property
    def linked_hubs(self) -> Mapping[HubKey, str] | None:
        """The linked hubs; None: as each device names them."""
        return None if self.linked is None else linked(self.linked)

    def before(self, fleet: FleetView) -> FleetView:
        """The fleet in force, with this file's loads."""
        return FleetView(fleet.states, self._loads(fleet), fleet.avoided, fleet.as_of)

    def after(self, fleet: FleetView) -> FleetView:
        """The fleet with this file's states and loads."""
        states = dict(fleet.states) | {
            hub_key(hub.name): hub.state for hub in self.hubs if hub.state is not None
        }
        return FleetView(states, self._loads(fleet), fleet.avoided, fleet.as_of)

    def _loads(self, fleet: FleetView) -> dict[HubKey, int]:
        told = {hub_key(hub.name): hub.devices for hub in self.hubs if hub.devices is not None}
        return dict(fleet.loads) | told


def read_fleet_file(text: str) -> FleetFile:
    """Read a fleet file, YAML or JSON.

    Raises:
        PolicyError: it is none; names each path and what is wrong.
    """
    try:
        return FleetFile.model_validate(read_text(text))
    except PolicyError as error:
        raise PolicyError(f"fleet file: {str(error).removeprefix('policy: ')}") from None
    except ValidationError as error:
        told = sorted(
            {
                f"{'.'.join(map(str, each['loc'])) or 'fleet'}: {each['msg']}"
                for each in error.errors(include_url=False)
            }
        )
        raise PolicyError(f"fleet file: {'; '.join(told)}") from None
