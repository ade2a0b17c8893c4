// What somebody must know of. Each query returns rows when something is wrong and none otherwise.

param location string
param tags object
param workspaceId string

@description('Address that alerts are mailed to. Empty: nobody is told.')
param email string

@description('System topics whose dead letters are watched.')
param topicIds array

// severity: 1 devices fail now, 2 they will or work stands still, 3 to be looked at in working hours.
var rules = [
  { name: 'webhook-failing', severity: 1, every: 'PT5M', window: 'PT15M', query: loadTextContent('../queries/webhook-failing.kql'), what: 'DPS gets errors from the webhook: devices are tried again for seven minutes, then fail.' }
  { name: 'webhook-slow', severity: 2, every: 'PT5M', window: 'PT15M', query: loadTextContent('../queries/webhook-slow.kql'), what: 'One request in twenty takes longer than its budget.' }
  { name: 'webhook-broken', severity: 1, every: 'PT5M', window: 'PT15M', query: loadTextContent('../queries/webhook-broken.kql'), what: 'The app failed on requests and told DPS to try again: see place and error.' }
  { name: 'registrations-refused', severity: 1, every: 'PT5M', window: 'PT15M', query: loadTextContent('../queries/registrations-refused.kql'), what: 'DPS ended registrations with 400207, 400208 or 400209: docs/deploy.md says what each means.' }
  { name: 'requests-doubted', severity: 2, every: 'PT15M', window: 'PT30M', query: loadTextContent('../queries/requests-doubted.kql'), what: 'Somebody with a function key called from an address, or for an enrollment, that is on no list.' }
  { name: 'degraded', severity: 2, every: 'PT5M', window: 'PT15M', query: loadTextContent('../queries/degraded.kql'), what: 'More than one decision in twenty was made with old or no knowledge of policy and hub states.' }
  { name: 'state-unavailable', severity: 2, every: 'PT5M', window: 'PT15M', query: loadTextContent('../queries/state-unavailable.kql'), what: 'Policy or hub states cannot be read, or the active policy does not load.' }
  { name: 'ledger-gaps', severity: 3, every: 'PT15M', window: 'PT30M', query: loadTextContent('../queries/ledger-gaps.kql'), what: 'Answers were not recorded in the ledger.' }
  { name: 'hubs-not-counted', severity: 3, every: 'PT15M', window: 'PT30M', query: loadTextContent('../queries/hubs-not-counted.kql'), what: 'A hub has not said for fifteen minutes how many devices it has, or the linked hubs are unknown.' }
  { name: 'lifecycle-silent', severity: 2, every: 'PT15M', window: 'PT30M', query: loadTextContent('../queries/lifecycle-silent.kql'), what: 'The lifecycle app has not counted devices for half an hour: it does not run.' }
  { name: 'telemetry-silent', severity: 2, every: 'PT15M', window: 'PT30M', query: loadTextContent('../queries/telemetry-silent.kql'), what: 'Requests come and the app tells of no answers: its telemetry does not arrive, and other alerts hear nothing.' }
  { name: 'jobs-blocked', severity: 2, every: 'PT15M', window: 'PT30M', query: loadTextContent('../queries/jobs-blocked.kql'), what: 'A job needs somebody, failed, or was left alone: see its problem.' }
  { name: 'jobs-stalled', severity: 2, every: 'PT1H', window: 'P1D', query: loadTextContent('../queries/jobs-stalled.kql'), what: 'A job has not had a slice for two hours and has not ended.' }
  { name: 'rotation-blocked', severity: 2, every: 'PT15M', window: 'PT30M', query: loadTextContent('../queries/rotation-blocked.kql'), what: 'A rotation of keys waits for somebody or is blocked.' }
  { name: 'audit-critical', severity: 2, every: 'PT1H', window: 'PT2H', query: loadTextContent('../queries/audit-critical.kql'), what: 'The audit found something critical.' }
  { name: 'quota', severity: 3, every: 'PT1H', window: 'PT2H', query: loadTextContent('../queries/quota.kql'), what: 'A quota of the DPS or a hub is nearly used up, or will be soon.' }
]

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: 'ag-dps-fleet'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'dps-fleet'
    enabled: true
    emailReceivers: [
      { name: 'operators', emailAddress: email, useCommonAlertSchema: true }
    ]
  }
}

resource queryAlerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for rule in rules: {
  name: 'alert-${rule.name}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: 'dps-fleet: ${rule.name}'
    description: rule.what
    enabled: true
    severity: rule.severity
    evaluationFrequency: rule.every
    windowSize: rule.window
    scopes: [workspaceId]
    // A table appears in a new workspace with its first row, and a query of one that is not there is refused.
    skipQueryValidation: true
    criteria: {
      allOf: [
        {
          query: rule.query
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
        }
      ]
    }
    autoMitigate: true
    actions: { actionGroups: empty(email) ? [] : [people.id] }
  }
}]

resource deadLetters 'Microsoft.Insights/metricAlerts@2018-03-01' = [for id in topicIds: {
  name: 'alert-dead-letters-${split(id, '/')[8]}'
  location: 'global'
  tags: tags
  properties: {
    description: 'Events could not be delivered to the lifecycle app for a day. They are in the container of dead letters.'
    enabled: true
    severity: 2
    scopes: [id]
    evaluationFrequency: 'PT15M'
    windowSize: 'PT1H'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'deadLettered'
          metricName: 'DeadLetteredCount'
          metricNamespace: 'Microsoft.EventGrid/systemTopics'
          operator: 'GreaterThan'
          threshold: 0
          timeAggregation: 'Total'
        }
      ]
    }
    autoMitigate: true
    actions: empty(email) ? [] : [{ actionGroupId: people.id }]
  }
}]

resource dropped 'Microsoft.Insights/metricAlerts@2018-03-01' = [for id in topicIds: {
  name: 'alert-dropped-events-${split(id, '/')[8]}'
  location: 'global'
  tags: tags
  properties: {
    description: 'Events were lost: neither delivered nor kept as dead letters. Timers make up for them; find out why.'
    enabled: true
    severity: 2
    scopes: [id]
    evaluationFrequency: 'PT15M'
    windowSize: 'PT1H'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'dropped'
          metricName: 'DroppedEventCount'
          metricNamespace: 'Microsoft.EventGrid/systemTopics'
          operator: 'GreaterThan'
          threshold: 0
          timeAggregation: 'Total'
        }
      ]
    }
    autoMitigate: true
    actions: empty(email) ? [] : [{ actionGroupId: people.id }]
  }
}]
