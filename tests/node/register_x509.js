// Registers one device by its certificate with Microsoft's own client, unmodified, and prints the result as JSON.
// Usage: node register_x509.js HOST PORT ID_SCOPE REGISTRATION_ID, PEM texts in $DEVICE_CERTIFICATE and $DEVICE_KEY.
'use strict';

const https = require('node:https');
const { Http } = require('azure-iot-provisioning-device-http');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { X509Security } = require('azure-iot-security-x509');

const [host, port, idScope, registrationId] = process.argv.slice(2);

// The client always asks for port 443; the process's default agent decides where that is.
https.globalAgent.defaultPort = Number(port);

const proof = { cert: process.env.DEVICE_CERTIFICATE, key: process.env.DEVICE_KEY };
const security = new X509Security(registrationId, proof);
const client = ProvisioningDeviceClient.create(host, idScope, new Http(), security);

client.register((error, result) => {
  if (error) {
    console.log(JSON.stringify({ error: error.name, message: error.message, result: error.result }));
    process.exitCode = 1;
  } else {
    console.log(JSON.stringify(result));
  }
});
