// Registers one device over MQTT with Microsoft's own client, unmodified, and prints the result as JSON.
// Usage: node register_mqtt.js HOST:PORT ID_SCOPE REGISTRATION_ID, the key in $DEVICE_KEY, a payload in $PAYLOAD.
'use strict';

const { Mqtt } = require('azure-iot-provisioning-device-mqtt');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');

const [host, idScope, registrationId] = process.argv.slice(2);

const security = new SymmetricKeySecurityClient(registrationId, process.env.DEVICE_KEY);
const client = ProvisioningDeviceClient.create(host, idScope, new Mqtt(), security);
if (process.env.PAYLOAD) client.setProvisioningPayload(JSON.parse(process.env.PAYLOAD));

client.register((error, result) => {
  if (error) {
    console.log(JSON.stringify({ error: error.name, message: error.message, result: error.result }));
    process.exitCode = 1;
  } else {
    console.log(JSON.stringify(result));
  }
});
