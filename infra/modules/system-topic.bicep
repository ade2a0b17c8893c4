// What a vault or a hub tells of itself. A source can have one system topic only.

param name string
param location string
param tags object
param sourceId string
param topicType string

@description('The identity that writes what could not be delivered.')
param identityId string

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    source: sourceId
    topicType: topicType
  }
}

output id string = topic.id
