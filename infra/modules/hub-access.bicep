// Reading rights at a hub: statistics, devices and twins are evidence. Nothing here changes a hub.

param hubName string
param lifecyclePrincipalId string
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

resource operatorsReader 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorsPrincipalId)) {
  name: guid(hub.id, operatorsPrincipalId, roles['IoT Hub Data Reader'])
  scope: hub
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['IoT Hub Data Reader'])
    principalId: operatorsPrincipalId
    principalType: operatorsPrincipalType
  }
}

@description('A system topic must be where its source is.')
output location string = hub.location
