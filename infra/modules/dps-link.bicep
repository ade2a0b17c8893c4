// Lets a DPS make devices on a hub. Which role it needs at least is not documented; this one holds them all.

param hubName string
param principalId string

var roles = loadJsonContent('../roles.json')

resource hub 'Microsoft.Devices/IotHubs@2023-06-30' existing = {
  name: hubName
}

resource provisioner 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(hub.id, principalId, roles['IoT Hub Data Contributor'])
  scope: hub
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['IoT Hub Data Contributor'])
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}
