"""Registers one device over MQTT with azure-iot-device, unmodified, and prints the result as JSON.

Usage: python python_device.py PROXY_PORT CA_PEM ID_SCOPE REGISTRATION_ID, the key in $DEVICE_KEY, a payload
in $PAYLOAD. The client knows no port but 8883: the proxy leads it to another; - is for no proxy.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from azure.iot.device import ProvisioningDeviceClient, ProxyOptions
from azure.iot.device.exceptions import ClientError


def register(proxy_port: str, ca_pem: str, id_scope: str, registration_id: str) -> dict[str, Any]:
    proxy = None if proxy_port == "-" else ProxyOptions("HTTP", "127.0.0.1", int(proxy_port))  # type: ignore[no-untyped-call]
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host="localhost",
        registration_id=registration_id,
        id_scope=id_scope,
        symmetric_key=os.environ["DEVICE_KEY"],
        server_verification_cert=Path(ca_pem).read_text(),
        proxy_options=proxy,
    )
    if os.environ.get("PAYLOAD"):
        client.provisioning_payload = json.loads(os.environ["PAYLOAD"])
    try:
        result = client.register()
    except ClientError as error:
        return {"error": type(error).__name__, "message": str(error.__cause__ or error)}
    state = result.registration_state
    assert state is not None
    return {
        "status": result.status,
        "assignedHub": state.assigned_hub,
        "deviceId": state.device_id,
        "payload": json.loads(str(state.response_payload)) if state.response_payload else None,
    }


if __name__ == "__main__":
    print(json.dumps(register(*sys.argv[1:])), flush=True)
    os._exit(0)  # the client leaves threads behind that end minutes later
