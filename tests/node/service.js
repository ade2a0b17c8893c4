// Drives Microsoft's own client of the DPS service API, unmodified. Each line of standard input is
// {"call": METHOD, "args": […]} or {"query": METHOD, "args": […]}, which fetches every page; each line of
// standard output is {"result": …} or {"error": {"name", "status"}}.
// Usage: node service.js PORT, the connection string in $CONNECTION_STRING.
'use strict';

const https = require('node:https');
const readline = require('node:readline');
const { ProvisioningServiceClient } = require('azure-iot-provisioning-service');

// The client always asks for port 443; the process's default agent decides where that is.
https.globalAgent.defaultPort = Number(process.argv[2]);

const client = ProvisioningServiceClient.fromConnectionString(process.env.CONNECTION_STRING);

async function pages(query) {
  const found = [];
  // Without an argument, the promise form of `next` asks for the first page again.
  while (query.hasMoreResults) found.push((await query.next(query.continuationToken)).responseBody);
  return found;
}

async function answer({ call, query, args }) {
  try {
    if (query) return { result: await pages(client[query](...args)) };
    // The promise form of runBulkEnrollmentOperation never settles; callbacks serve every operation alike.
    const called = (resolve, reject) =>
      client[call](...args, (error, result) => (error ? reject(error) : resolve(result)));
    return { result: (await new Promise(called)) || null };
  } catch (error) {
    const response = error.response;
    return { error: { name: error.name, message: error.message, status: response && response.statusCode } };
  }
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await answer(JSON.parse(line))));
  }
})();
