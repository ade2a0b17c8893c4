// A name for the webhook that outlives the region it runs in: a custom domain at Azure Front Door, in a resource group
// of its own. Moving means changing originHost and deploying this again; no enrollment is rewritten.
//
// Front Door, because certificates of Flex Consumption apps are in preview and belong to one app in one region.

@description('The domain that DPS calls, like provisioning.example.com.')
param domain string

@description('Host name of the allocation app (output ALLOCATION_HOST of main.bicep).')
param originHost string

@description('Name of the Front Door profile.')
param profileName string = 'afd-dps-fleet'

param tags object = {}

resource profile 'Microsoft.Cdn/profiles@2024-02-01' = {
  name: profileName
  location: 'global'
  tags: tags
  sku: { name: 'Standard_AzureFrontDoor' }
  properties: {
    // A request of ours takes 2.5 s at most; a cold start comes on top. This is the least that Front Door allows.
    originResponseTimeoutSeconds: 16
  }
}

resource endpoint 'Microsoft.Cdn/profiles/afdEndpoints@2024-02-01' = {
  parent: profile
  name: 'webhook-${uniqueString(profile.id)}'
  location: 'global'
  tags: tags
  properties: { enabledState: 'Enabled' }
}

resource customDomain 'Microsoft.Cdn/profiles/customDomains@2024-02-01' = {
  parent: profile
  name: replace(domain, '.', '-')
  properties: {
    hostName: domain
    tlsSettings: {
      certificateType: 'ManagedCertificate'
      minimumTlsVersion: 'TLS12'
    }
  }
}

// One origin needs no probes, and a probe of the webhook would be an allocation request that fails.
resource origins 'Microsoft.Cdn/profiles/originGroups@2024-02-01' = {
  parent: profile
  name: 'allocation'
  properties: {
    loadBalancingSettings: {
      sampleSize: 4
      successfulSamplesRequired: 3
      additionalLatencyInMilliseconds: 50
    }
  }
}

resource origin 'Microsoft.Cdn/profiles/originGroups/origins@2024-02-01' = {
  parent: origins
  name: 'app'
  properties: {
    hostName: originHost
    originHostHeader: originHost
    httpsPort: 443
    enforceCertificateNameCheck: true
    enabledState: 'Enabled'
    priority: 1
    weight: 1000
  }
}

// Nothing is cached, and nothing but the webhook is reachable.
resource route 'Microsoft.Cdn/profiles/afdEndpoints/routes@2024-02-01' = {
  parent: endpoint
  name: 'webhook'
  properties: {
    originGroup: { id: origins.id }
    customDomains: [{ id: customDomain.id }]
    supportedProtocols: ['Https']
    patternsToMatch: ['/api/allocate', '/api/allocate/*']
    forwardingProtocol: 'HttpsOnly'
    httpsRedirect: 'Disabled'
    linkToDefaultDomain: 'Disabled'
    enabledState: 'Enabled'
  }
  dependsOn: [origin]
}

@description('Make this the CNAME of the domain.')
output cname string = endpoint.properties.hostName

@description('Make this the TXT record _dnsauth of the domain.')
output validationToken string = customDomain.properties.validationProperties.validationToken

@description('For frontDoorId of main.bicep: then nobody else can call the app.')
output frontDoorId string = profile.properties.frontDoorId

@description('For webhookUrl of main.bicep.')
output webhookUrl string = 'https://${domain}/api/allocate'
