// One page: where devices go and why, how well the webhook knows, what the jobs do, how full everything is.

param location string
param tags object
param workspaceId string

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'dps-fleet')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'dps-fleet'
    category: 'workbook'
    sourceId: workspaceId
    serializedData: loadTextContent('workbook.json')
  }
}
