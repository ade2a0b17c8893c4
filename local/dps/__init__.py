"""An emulator of the IoT Hub Device Provisioning Service: the service API, the device API, the webhook."""
