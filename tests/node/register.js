// Registers one device with Microsoft's own client, unmodified, and prints the result as JSON.
// Usage: node register.js HOST PORT ID_SCOPE REGISTRATION_ID, the key in $DEVICE_KEY, a payload in $PAYLOAD.
'use strict';

const https = require('node:https');
const { Http } = require('azure-iot-provisioning-device-http');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');

const [host, port, idScope, registrationId] = process.argv.slice(2);

// The client always asks for port 443; the process's default agent decides where that is.
https.globalAgent.defaultPort = Number(port);

const security = new SymmetricKeySecurityClient(registrationId, process.env.DEVICE_KEY);
const client = ProvisioningDeviceClient.create(host, idScope, new Http(), security);
if (process.env.PAYLOAD) client.setProvisioningPayload(JSON.parse(process.env.PAYLOAD));

client.register((error, result) => {
  if (error) {
    console.log(JSON.stringify({ error: error.name, message: error.message, result: error.result }));
    process.exitCode = 1;
  } else {
    console.log(JSON.stringify(result));
  }
});
