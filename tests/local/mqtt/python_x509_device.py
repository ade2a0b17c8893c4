"""Registers one device over MQTT by its certificate with azure-iot-device, unmodified; the result is JSON.

Usage: python python_x509_device.py PROXY_PORT CA_PEM ID_SCOPE REGISTRATION_ID CERTIFICATE_FILE KEY_FILE.
The client knows no port but 8883: the proxy leads it to another.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from azure.iot.device import X509, ProvisioningDeviceClient, ProxyOptions
from azure.iot.device.exceptions import ClientError


def register(
    proxy_port: str, ca_pem: str, id_scope: str, registration_id: str, certificate: str, key: str
) -> dict[str, Any]:
    client = ProvisioningDeviceClient.create_from_x509_certificate(
        provisioning_host="localhost",
        registration_id=registration_id,
        id_scope=id_scope,
        x509=X509(certificate, key),  # type: ignore[no-untyped-call]
        server_verification_cert=Path(ca_pem).read_text(),
        proxy_options=ProxyOptions("HTTP", "127.0.0.1", int(proxy_port)),  # type: ignore[no-untyped-call]
    )
    try:
        result = client.register()
    except ClientError as error:
        return {"error": type(error).__name__, "message": str(error.__cause__ or error)}
    state = result.registration_state
    assert state is not None
    return {"status": result.status, "assignedHub": state.assigned_hub, "deviceId": state.device_id}


if __name__ == "__main__":
    print(json.dumps(register(*sys.argv[1:])), flush=True)
    os._exit(0)  # the client leaves threads behind that end minutes later
