// A new DPS with new hubs, linked by the DPS's identity: no connection string exists anywhere.
//
// Links by identity came with version 2026-08-31 of this type. Where a region does not offer it yet, make the DPS and
// the hubs another way and give their resource ids to main.bicep.

param name string
param location string
param tags object

@description('Full names of the hubs to make.')
param hubNames array

@description('Units of each hub, of size S1.')
param hubUnits int = 1

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-${name}'
  location: location
  tags: tags
}

resource hubs 'Microsoft.Devices/IotHubs@2023-06-30' = [for hubName in hubNames: {
  name: hubName
  location: location
  tags: tags
  sku: { name: 'S1', capacity: hubUnits }
  properties: {
    minTlsVersion: '1.2'
    publicNetworkAccess: 'Enabled'
  }
}]

// Module inside a module: the name of a role assignment must not depend on a principal that is not made yet.
module links 'dps-link.bicep' = [for (hubName, i) in hubNames: {
  name: 'link-${i}'
  params: {
    hubName: hubName
    principalId: identity.properties.principalId
  }
  dependsOn: [hubs]
}]

resource dps 'Microsoft.Devices/provisioningServices@2026-08-31' = {
  name: name
  location: location
  tags: tags
  sku: { name: 'S1', capacity: 1 }
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identity.id}': {} }
  }
  properties: {
    allocationPolicy: 'Hashed'
    // Devices and the webhook's answers come over the internet.
    publicNetworkAccess: 'Enabled'
    iotHubs: [for (hubName, i) in hubNames: {
      hostName: hubs[i].properties.hostName
      location: location
      authenticationType: 'UserAssigned'
      selectedUserAssignedIdentityResourceId: identity.id
    }]
  }
  dependsOn: [links]
}
