// Who the apps are, and who hands undelivered events over.

param location string
param tags object
param token string

resource allocation 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-allocation-${token}'
  location: location
  tags: tags
}

resource lifecycle 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-lifecycle-${token}'
  location: location
  tags: tags
}

resource events 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-events-${token}'
  location: location
  tags: tags
}

output allocationId string = allocation.id
output allocationClientId string = allocation.properties.clientId
output allocationPrincipalId string = allocation.properties.principalId
output lifecycleId string = lifecycle.id
output lifecycleClientId string = lifecycle.properties.clientId
output lifecyclePrincipalId string = lifecycle.properties.principalId
output eventsId string = events.id
output eventsPrincipalId string = events.properties.principalId
