// The key vault: rights by role only, nothing in it can be purged before its time, every read is logged.

param name string
param location string
param tags object
param workspaceId string
param lifecyclePrincipalId string
param lifecycleAccess string
param operatorsPrincipalId string
param operatorsPrincipalType string

var roles = loadJsonContent('../roles.json')
var lifecycleRole = lifecycleAccess == 'change' ? roles['Key Vault Secrets Officer'] : roles['Key Vault Secrets User']

resource vault 'Microsoft.KeyVault/vaults@2026-02-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enablePurgeProtection: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    publicNetworkAccess: 'Enabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: 'Allow'
    }
  }
}

resource lifecycleSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, lifecyclePrincipalId, lifecycleRole)
  scope: vault
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', lifecycleRole)
    principalId: lifecyclePrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource operatorsSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorsPrincipalId)) {
  name: guid(vault.id, operatorsPrincipalId, roles['Key Vault Secrets Officer'])
  scope: vault
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Key Vault Secrets Officer'])
    principalId: operatorsPrincipalId
    principalType: operatorsPrincipalType
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'AuditEvent', enabled: true }
    ]
  }
}

output id string = vault.id
output uri string = vault.properties.vaultUri
