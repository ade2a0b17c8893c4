// Rights at the DPS, and its logs. The allocation app gets none: DPS calls it, never the other way.

param dpsName string
param workspaceId string
param diagnosticsName string
param lifecyclePrincipalId string
param lifecycleAccess string
param operatorsPrincipalId string
param operatorsPrincipalType string

var roles = loadJsonContent('../roles.json')
var lifecycleRole = lifecycleAccess == 'change' ? roles['Device Provisioning Service Data Contributor'] : roles['Device Provisioning Service Data Reader']

resource dps 'Microsoft.Devices/provisioningServices@2022-12-12' existing = {
  name: dpsName
}

resource lifecycleData 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(dps.id, lifecyclePrincipalId, lifecycleRole)
  scope: dps
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', lifecycleRole)
    principalId: lifecyclePrincipalId
    principalType: 'ServicePrincipal'
  }
}

// Linked hubs, weights and CA certificates are at the management plane.
resource lifecycleReader 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(dps.id, lifecyclePrincipalId, roles.Reader)
  scope: dps
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.Reader)
    principalId: lifecyclePrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource operatorsData 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorsPrincipalId)) {
  name: guid(dps.id, operatorsPrincipalId, roles['Device Provisioning Service Data Contributor'])
  scope: dps
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Device Provisioning Service Data Contributor'])
    principalId: operatorsPrincipalId
    principalType: operatorsPrincipalType
  }
}

resource operatorsReader 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorsPrincipalId)) {
  name: guid(dps.id, operatorsPrincipalId, roles.Reader)
  scope: dps
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.Reader)
    principalId: operatorsPrincipalId
    principalType: operatorsPrincipalType
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: diagnosticsName
  scope: dps
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'DeviceOperations', enabled: true }
      { category: 'ServiceOperations', enabled: true }
    ]
    metrics: [
      { category: 'AllMetrics', enabled: true }
    ]
  }
}

output serviceHost string = dps.properties.serviceOperationsHostName
output idScope string = dps.properties.idScope
