// Who may do what in the account of the state. The webhook's identity gets single tables, read-only where it can be.

param accountName string

@description('Tables that the allocation app reads.')
param readTables array

@description('Tables that the allocation app writes.')
param writeTables array

param allocationPrincipalId string
param lifecyclePrincipalId string
param eventsPrincipalId string
param deadLetterContainer string
param operatorsPrincipalId string
param operatorsPrincipalType string

var roles = loadJsonContent('../roles.json')

resource account 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: accountName
}

resource tableService 'Microsoft.Storage/storageAccounts/tableServices@2025-01-01' existing = {
  parent: account
  name: 'default'
}

resource read 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-01-01' existing = [for table in readTables: {
  parent: tableService
  name: table
}]

resource written 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-01-01' existing = [for table in writeTables: {
  parent: tableService
  name: table
}]

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' existing = {
  parent: account
  name: 'default'
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' existing = {
  parent: blobs
  name: deadLetterContainer
}

resource allocationReader 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (table, i) in readTables: {
  name: guid(account.id, table, allocationPrincipalId, roles['Storage Table Data Reader'])
  scope: read[i]
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Table Data Reader'])
    principalId: allocationPrincipalId
    principalType: 'ServicePrincipal'
  }
}]

resource allocationWriter 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (table, i) in writeTables: {
  name: guid(account.id, table, allocationPrincipalId, roles['Storage Table Data Contributor'])
  scope: written[i]
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Table Data Contributor'])
    principalId: allocationPrincipalId
    principalType: 'ServicePrincipal'
  }
}]

resource lifecycleWriter 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, lifecyclePrincipalId, roles['Storage Table Data Contributor'])
  scope: account
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Table Data Contributor'])
    principalId: lifecyclePrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource eventsWriter 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(container.id, eventsPrincipalId, roles['Storage Blob Data Contributor'])
  scope: container
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Contributor'])
    principalId: eventsPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource operatorsWriter 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorsPrincipalId)) {
  name: guid(account.id, operatorsPrincipalId, roles['Storage Table Data Contributor'])
  scope: account
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Table Data Contributor'])
    principalId: operatorsPrincipalId
    principalType: operatorsPrincipalType
  }
}
