// Everything an environment needs, in a resource group of its own: two function apps from one package, their
// identities, storage, vault and monitoring, and the rights they need at a DPS and its hubs, which may be there
// already (in any resource group of the tenant) or are made here.
targetScope = 'subscription'

@minLength(1)
@maxLength(40)
@description('Name of the azd environment; the resource group is called after it.')
param environmentName string

@minLength(1)
@description('Region of everything that is made here. Flex Consumption must be offered there.')
param location string

@description('Resource id of the DPS that is there already. Empty: one is made, with the hubs of newHubNames.')
param dpsResourceId string = ''

@description('Resource ids of the hubs that are there already, separated by commas, in any resource group.')
param hubResourceIds string = ''

@description('Short names of hubs to make beside a DPS that is made here, separated by commas.')
param newHubNames string = ''

@description('Resource ids of the system topics that the hubs have already, separated by commas. Empty: one is made for each hub. A hub can have only one.')
param hubTopicIds string = ''

@allowed(['change', 'read'])
@description('What the lifecycle app may do at the DPS, at its hubs and in the vault. With read, audits work; purges and rotations are refused by Azure.')
param lifecycleAccess string = 'change'

@description('Object id of the group (or user) that operates it: gets rights on state, DPS and vault for the commands. Empty: nobody gets any.')
param operatorsPrincipalId string = ''

@allowed(['Group', 'User', 'ServicePrincipal'])
@description('What operatorsPrincipalId is.')
param operatorsPrincipalType string = 'Group'

@description('Address that alerts are mailed to. Empty: alerts are shown in the portal only.')
param alertEmail string = ''

@description('The public URL of the webhook as DPS is to call it, without key, where it has a name of its own (domain.bicep). Empty: the host name of the app.')
param webhookUrl string = ''

@description('Id of the Front Door profile that alone may call the webhook (an output of domain.bicep). Empty: anybody who has the key.')
param frontDoorId string = ''

@description('The allocation policy packaged with the app, a path relative to it. Empty: every linked hub alike.')
param policyFile string = ''

@allowed(['3.11', '3.12', '3.13'])
@description('Python of both apps.')
param pythonVersion string = '3.12'

@minValue(0)
@description('Instances of the webhook that are always ready. 0 makes devices wait for cold starts.')
param webhookInstances int = 1

@minValue(1)
@description('Requests that one instance of the webhook works on at a time. The default of Python is 1.')
param webhookConcurrency int = 16

@description('Whether plans and storage survive the loss of a zone. The region must offer zones to Flex Consumption.')
param zoneRedundant bool = false

@description('Name of the vault\'s secret that holds the URL of a chat\'s webhook, which is told what audits newly find. Empty: none is told.')
param auditNotifySecret string = ''

@description('App settings of the allocation app that differ from the ones below, by name.')
param allocationSettings object = {}

@description('App settings of the lifecycle app that differ from the ones below, by name.')
param lifecycleSettings object = {}

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = { 'azd-env-name': environmentName }
var groupName = 'rg-${environmentName}'
// The Functions host derives its id from the first 32 characters of an app's name: these names are shorter.
var allocationName = 'func-allocation-${token}'
var lifecycleName = 'func-lifecycle-${token}'
var vaultName = 'kv-${token}'
var stateName = 'ststate${token}'
var packages = 'packages'
// The vault's secret with the webhook's key; `rotate webhook-key` makes it.
var webhookKeySecret = 'webhook-key'
var deadLetters = 'deadletters'
// Tables of the app, and what the webhook may do with them. It is open to the world, so it may write the ledger, and count the uses of its keys, alone.
var allocationReads = ['policies', 'fleet']
var allocationWrites = ['ledger', 'keyuse']
var lifecycleTables = ['audit', 'jobs', 'purge', 'rotations']

var group = '/subscriptions/${subscription().subscriptionId}/resourceGroups/${groupName}'
var makesDps = empty(dpsResourceId)
var dpsName = 'provs-${token}'
var dpsId = makesDps ? '${group}/providers/Microsoft.Devices/provisioningServices/${dpsName}' : dpsResourceId
var dpsPath = split(dpsId, '/')
var newHubs = makesDps && !empty(newHubNames) ? split(newHubNames, ',') : []
var newHubFullNames = [for short in newHubs: 'iot-${trim(short)}-${token}']
var newHubIds = [for full in newHubFullNames: '${group}/providers/Microsoft.Devices/IotHubs/${full}']
var givenHubIds = empty(hubResourceIds) ? [] : split(replace(hubResourceIds, ' ', ''), ',')
var hubIds = concat(givenHubIds, newHubIds)
var hubsToTell = empty(hubTopicIds) ? hubIds : []
var madeTopicIds = [for id in hubsToTell: '/subscriptions/${split(id, '/')[2]}/resourceGroups/${split(id, '/')[4]}/providers/Microsoft.EventGrid/systemTopics/evgt-${split(id, '/')[8]}']
var allHubTopicIds = empty(hubTopicIds) ? join(madeTopicIds, ',') : replace(hubTopicIds, ' ', '')

resource resources 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: groupName
  location: location
  tags: tags
}

module identities 'modules/identities.bicep' = {
  name: 'identities'
  scope: resources
  params: {
    location: location
    tags: tags
    token: token
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: resources
  params: {
    location: location
    tags: tags
    token: token
    publisherPrincipalIds: [
      identities.outputs.allocationPrincipalId
      identities.outputs.lifecyclePrincipalId
    ]
  }
}

// One account for each host: a host's account holds its package and its keys, so an app that could write the other's
// would have the other's rights.
module allocationHost 'modules/storage.bicep' = {
  name: 'allocation-host'
  scope: resources
  params: {
    name: 'stalloc${token}'
    location: location
    tags: tags
    zoneRedundant: zoneRedundant
    containers: [packages]
    tables: []
    ownerPrincipalId: identities.outputs.allocationPrincipalId
  }
}

module lifecycleHost 'modules/storage.bicep' = {
  name: 'lifecycle-host'
  scope: resources
  params: {
    name: 'stlife${token}'
    location: location
    tags: tags
    zoneRedundant: zoneRedundant
    containers: [packages]
    tables: []
    ownerPrincipalId: identities.outputs.lifecyclePrincipalId
  }
}

module state 'modules/storage.bicep' = {
  name: 'state'
  scope: resources
  params: {
    name: stateName
    location: location
    tags: tags
    zoneRedundant: zoneRedundant
    containers: [deadLetters]
    tables: concat(allocationReads, allocationWrites, lifecycleTables)
    ownerPrincipalId: ''
  }
}

module stateAccess 'modules/state-access.bicep' = {
  name: 'state-access'
  scope: resources
  params: {
    accountName: state.outputs.name
    readTables: allocationReads
    writeTables: allocationWrites
    allocationPrincipalId: identities.outputs.allocationPrincipalId
    lifecyclePrincipalId: identities.outputs.lifecyclePrincipalId
    eventsPrincipalId: identities.outputs.eventsPrincipalId
    deadLetterContainer: deadLetters
    operatorsPrincipalId: operatorsPrincipalId
    operatorsPrincipalType: operatorsPrincipalType
  }
}

module vault 'modules/vault.bicep' = {
  name: 'vault'
  scope: resources
  params: {
    name: vaultName
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    lifecyclePrincipalId: identities.outputs.lifecyclePrincipalId
    lifecycleAccess: lifecycleAccess
    operatorsPrincipalId: operatorsPrincipalId
    operatorsPrincipalType: operatorsPrincipalType
  }
}

module newDps 'modules/dps.bicep' = if (makesDps) {
  name: 'dps'
  scope: resources
  params: {
    name: dpsName
    location: location
    tags: tags
    hubNames: newHubFullNames
  }
}

module dpsAccess 'modules/dps-access.bicep' = {
  name: 'dps-access-${token}'
  scope: resourceGroup(dpsPath[2], dpsPath[4])
  params: {
    dpsName: dpsPath[8]
    workspaceId: monitoring.outputs.workspaceId
    diagnosticsName: 'dps-fleet-${token}'
    lifecyclePrincipalId: identities.outputs.lifecyclePrincipalId
    lifecycleAccess: lifecycleAccess
    operatorsPrincipalId: operatorsPrincipalId
    operatorsPrincipalType: operatorsPrincipalType
  }
  dependsOn: [newDps]
}

module hubAccess 'modules/hub-access.bicep' = [for (id, i) in hubIds: {
  name: 'hub-access-${i}-${token}'
  scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
  params: {
    hubName: split(id, '/')[8]
    lifecyclePrincipalId: identities.outputs.lifecyclePrincipalId
    lifecycleAccess: lifecycleAccess
    operatorsPrincipalId: operatorsPrincipalId
    operatorsPrincipalType: operatorsPrincipalType
  }
  dependsOn: [newDps]
}]

module vaultTopic 'modules/system-topic.bicep' = {
  name: 'vault-topic'
  scope: resources
  params: {
    name: 'evgt-${vaultName}'
    location: location
    tags: tags
    sourceId: vault.outputs.id
    topicType: 'Microsoft.KeyVault.vaults'
    identityId: identities.outputs.eventsId
  }
}

module hubTopics 'modules/system-topic.bicep' = [for (id, i) in hubsToTell: {
  name: 'hub-topic-${i}-${token}'
  scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
  params: {
    name: 'evgt-${split(id, '/')[8]}'
    location: hubAccess[i].outputs.location
    tags: tags
    sourceId: id
    topicType: 'Microsoft.Devices.IoTHubs'
    identityId: identities.outputs.eventsId
  }
}]

module allocationApp 'modules/function-app.bicep' = {
  name: 'allocation-app'
  scope: resources
  params: {
    name: allocationName
    serviceName: 'allocation'
    location: location
    tags: tags
    zoneRedundant: zoneRedundant
    pythonVersion: pythonVersion
    identityId: identities.outputs.allocationId
    identityClientId: identities.outputs.allocationClientId
    hostBlobEndpoint: allocationHost.outputs.blobEndpoint
    packageContainer: packages
    insightsConnectionString: monitoring.outputs.connectionString
    httpConcurrency: webhookConcurrency
    // The limit of allocation/request.py: the host need not read and hand over what is refused anyway.
    bodyLimit: 262144
    alwaysReady: webhookInstances
    frontDoorId: frontDoorId
    appSettings: union({
      APP_ROLE: 'allocation'
      POLICY_FILE: policyFile
      DPS_NAME: dpsPath[8]
      STATE_TABLES: state.outputs.tableEndpoint
      IDENTITY_CLIENT_ID: identities.outputs.allocationClientId
      TELEMETRY_IDS: 'none'
      TELEMETRY_ID_KEY: ''
      COLD_POLICY: 'wait'
      STATE_REFRESH_SECONDS: '15'
      STATE_MAX_AGE_SECONDS: '60'
      AVOID_HUBS_AFTER_MINUTES: '0'
      REQUEST_SECONDS: '2.5'
      LEDGER_SECONDS: '0.3'
      // Lists that doubt nobody until they are filled, and only log until their mode says refuse: docs/threat-model.md.
      ALLOWED_ENROLLMENTS: ''
      ALLOWED_ENROLLMENTS_MODE: 'log'
      CALLER_RANGES: ''
      CALLER_RANGES_MODE: 'log'
      CALLER_PROXIES: empty(frontDoorId) ? '0' : '1'
    }, allocationSettings)
  }
  dependsOn: [stateAccess]
}

module lifecycleApp 'modules/function-app.bicep' = {
  name: 'lifecycle-app'
  scope: resources
  params: {
    name: lifecycleName
    serviceName: 'lifecycle'
    location: location
    tags: tags
    zoneRedundant: zoneRedundant
    pythonVersion: pythonVersion
    identityId: identities.outputs.lifecycleId
    identityClientId: identities.outputs.lifecycleClientId
    hostBlobEndpoint: lifecycleHost.outputs.blobEndpoint
    packageContainer: packages
    insightsConnectionString: monitoring.outputs.connectionString
    httpConcurrency: 16
    // Event Grid delivers events of up to 1 MB.
    bodyLimit: 2097152
    alwaysReady: 0
    frontDoorId: ''
    appSettings: union({
      APP_ROLE: 'lifecycle'
      POLICY_FILE: policyFile
      DPS_NAME: dpsPath[8]
      DPS_HOST: dpsAccess.outputs.serviceHost
      DPS_RESOURCE_ID: dpsId
      ARM_URL: environment().resourceManager
      VAULT_URL: vault.outputs.uri
      WEBHOOK_URL: empty(webhookUrl) ? 'https://${allocationApp.outputs.hostName}/api/allocate' : webhookUrl
      WEBHOOK_KEY_SECRET: webhookKeySecret
      WEBHOOK_KEY_MAX_AGE_DAYS: '180'
      STATE_TABLES: state.outputs.tableEndpoint
      IDENTITY_CLIENT_ID: identities.outputs.lifecycleClientId
      TELEMETRY_IDS: 'none'
      TELEMETRY_ID_KEY: ''
      // Empty: the hubs linked to the DPS, as the management plane has them at the time.
      HUBS: ''
      HUB_UNITS: ''
      AUDIT_NOTIFY_URL: empty(auditNotifySecret) ? '' : '@Microsoft.KeyVault(SecretUri=${vault.outputs.uri}secrets/${auditNotifySecret})'
      VAULT_RESOURCE_ID: vault.outputs.id
      DPS_ID_SCOPE: dpsAccess.outputs.idScope
      CANARY_PREFIX: 'rotation-canary'
      AUDIT_SCHEDULE: '0 17 2 * * *'
      AUDIT_SAMPLE_KEYS: '0'
      AUDIT_CERTIFICATE_DAYS: '30'
      AUDIT_KEY_AGE_DAYS: '365'
      AUDIT_WEBHOOK_KEY_AGE_DAYS: '180'
      AUDIT_NEVER_REGISTERED_DAYS: '90'
      AUDIT_QUOTA_PERCENT: '80'
      AUDIT_KEEP_RUNS: '30'
      ROTATION_SCHEDULE: '0 17 5 * * *'
      PURGE_SCHEDULE: '0 17 3 * * *'
      PURGE_DRY_RUN: 'true'
      PURGE_RULES_FILE: ''
      STATISTICS_SCHEDULE: '0 * * * * *'
      RETENTION_SCHEDULE: '0 41 * * * *'
      LEDGER_KEEP_DAYS: '90'
    }, lifecycleSettings)
  }
  dependsOn: [stateAccess, hubAccess]
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  scope: resources
  params: {
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    email: alertEmail
    topicIds: concat([vaultTopic.outputs.id], empty(allHubTopicIds) ? [] : split(allHubTopicIds, ','))
  }
  dependsOn: [hubTopics]
}

module workbook 'modules/workbook.bicep' = {
  name: 'workbook'
  scope: resources
  params: {
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
  }
}

// Those that are called as a setting are what the operators' commands read: docs/deploy.md.
output AZURE_LOCATION string = location
output AZURE_RESOURCE_GROUP string = resources.name
output ALLOCATION_APP string = allocationApp.outputs.name
output ALLOCATION_HOST string = allocationApp.outputs.hostName
output LIFECYCLE_APP string = lifecycleApp.outputs.name
output LIFECYCLE_APP_ID string = lifecycleApp.outputs.id
output DPS_HOST string = dpsAccess.outputs.serviceHost
output DPS_NAME string = dpsPath[8]
output DPS_ID_SCOPE string = dpsAccess.outputs.idScope
output DPS_RESOURCE_ID string = dpsId
output STATE_TABLES string = state.outputs.tableEndpoint
output VAULT_URL string = vault.outputs.uri
output WEBHOOK_URL string = empty(webhookUrl) ? 'https://${allocationApp.outputs.hostName}/api/allocate' : webhookUrl
output VAULT_TOPIC_ID string = vaultTopic.outputs.id
output HUB_TOPIC_IDS string = allHubTopicIds
output EVENTS_IDENTITY_ID string = identities.outputs.eventsId
output DEAD_LETTER_ACCOUNT_ID string = state.outputs.id
output DEAD_LETTER_CONTAINER string = deadLetters
