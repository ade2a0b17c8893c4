// Subscribes the lifecycle app's functions to the system topics. It runs after the code is deployed (postdeploy.sh),
// for Event Grid looks whether a function is there.

@description('Resource id of the lifecycle app.')
param appId string

@description('Names of the functions that the app has, separated by commas. A subscription of another one is left out.')
param functions string

@description('Resource id of the vault\'s system topic.')
param vaultTopicId string

@description('Resource ids of the hubs\' system topics, separated by commas, in any resource group.')
param hubTopicIds string

@description('The identity that writes what could not be delivered. The topics must have it.')
param identityId string

param deadLetterAccountId string
param deadLetterContainer string

var present = split(functions, ',')
var secretExpiry = {
  function: 'secret_near_expiry'
  types: ['Microsoft.KeyVault.SecretNearExpiry', 'Microsoft.KeyVault.SecretExpired']
}
var deviceDeleted = {
  function: 'device_deleted'
  types: ['Microsoft.Devices.DeviceDeleted']
}
var vaultTopics = contains(present, secretExpiry.function) ? [vaultTopicId] : []
var hubTopics = contains(present, deviceDeleted.function) && !empty(hubTopicIds) ? split(hubTopicIds, ',') : []

module vaultSubscriptions 'modules/event-subscription.bicep' = [for (id, i) in vaultTopics: {
  name: 'vault-events-${i}'
  scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
  params: {
    topicName: split(id, '/')[8]
    name: replace(secretExpiry.function, '_', '-')
    functionId: '${appId}/functions/${secretExpiry.function}'
    eventTypes: secretExpiry.types
    identityId: identityId
    deadLetterAccountId: deadLetterAccountId
    deadLetterContainer: deadLetterContainer
  }
}]

module hubSubscriptions 'modules/event-subscription.bicep' = [for (id, i) in hubTopics: {
  name: 'hub-events-${i}'
  scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
  params: {
    topicName: split(id, '/')[8]
    name: replace(deviceDeleted.function, '_', '-')
    functionId: '${appId}/functions/${deviceDeleted.function}'
    eventTypes: deviceDeleted.types
    identityId: identityId
    deadLetterAccountId: deadLetterAccountId
    deadLetterContainer: deadLetterContainer
  }
}]
