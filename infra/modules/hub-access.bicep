// Rights at a hub: statistics, devices and twins are evidence. To disable the identities of a breached group's or a
// revoked device, and to delete a rotation's canary, takes the registry alone: no twin, no message, no method.

param hubName string
param lifecyclePrincipalId string
param lifecycleAccess string
param operatorsPrincipalId string
param operatorsPrincipalType string

var roles = loadJsonContent('../roles.json')

resource hub 'Microsoft.Devices/IotHubs@2023-06-30' existing = {
  name: hubName
}

resource lifecycleReader 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(hub.id, lifecyclePrincipalId, roles['IoT Hub Data Reader'])
  scope: hub
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['IoT Hub Data Reader'])
    principalId: lifecyclePrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource lifecycleRegistry 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (lifecycleAccess == 'change') {
  name: guid(hub.id, lifecyclePrincipalId, roles['IoT Hub Registry Contributor'])
  scope: hub
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['IoT Hub Registry Contributor'])
    principalId: lifecyclePrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource operatorsReader 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorsPrincipalId)) {
  name: guid(hub.id, operatorsPrincipalId, roles['IoT Hub Data Reader'])
  scope: hub
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['IoT Hub Data Reader'])
    principalId: operatorsPrincipalId
    principalType: operatorsPrincipalType
  }
}

resource operatorsRegistry 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorsPrincipalId)) {
  name: guid(hub.id, operatorsPrincipalId, roles['IoT Hub Registry Contributor'])
  scope: hub
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['IoT Hub Registry Contributor'])
    principalId: operatorsPrincipalId
    principalType: operatorsPrincipalType
  }
}

@description('A system topic must be where its source is.')
output location string = hub.location
