"""Clients nobody here wrote, at the rig's DPS."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.cli.rig import Rig
from tests.clients_of_dps.test_node_service_client import FOLDER, NodeClient

try:
    from azure.iot.deviceprovisioning import DeviceProvisioningClient
except ImportError:
    pytest.fail("azure-iot-deviceprovisioning is not installed: `./run test` installs it", pytrace=False)

T = TypeVar("T")


@contextmanager
def azure_client(connection_string: str, ca: Path) -> Iterator[Any]:
    """Python's azure-iot-deviceprovisioning client."""
    with DeviceProvisioningClient.from_connection_string(
        connection_string, connection_verify=str(ca), retry_total=0
    ) as client:
        yield client
    del client
    gc.collect()  # closes the connections that closed clients leave behind in reference cycles


async def azure(rig: Rig, work: Callable[[Any], T]) -> T:
    """What `work` makes of that client, which blocks."""
    return await asyncio.wait_for(asyncio.to_thread(work, rig.azure), 60)


@asynccontextmanager
async def node_client(rig: Rig) -> AsyncIterator[NodeClient]:
    """Node's azure-iot-provisioning-service."""
    if not (FOLDER / "node_modules" / "azure-iot-provisioning-service").is_dir():
        pytest.fail(
            "azure-iot-provisioning-service is not installed: `./run test` installs it", pytrace=False
        )
    process = await asyncio.create_subprocess_exec(
        os.environ.get("NODE", "node"),
        *(str(FOLDER / "service.js"), str(rig.cloud.dps_address.port)),
        env={
            **os.environ,
            "NODE_EXTRA_CA_CERTS": str(rig.ca),
            "CONNECTION_STRING": rig.cloud.dps.connection_string("localhost"),
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield NodeClient(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 20)
