#!/bin/sh
# Subscribes the lifecycle app's functions to events, once they are there. azd runs it after each deployment, with the
# outputs of main.bicep in the environment; it may be run again at any time.
set -eu
cd "$(dirname "$0")"

for name in AZURE_RESOURCE_GROUP LIFECYCLE_APP LIFECYCLE_APP_ID VAULT_TOPIC_ID EVENTS_IDENTITY_ID \
    DEAD_LETTER_ACCOUNT_ID DEAD_LETTER_CONTAINER; do
    if [ -z "$(printenv "$name" || true)" ]; then
        echo "postdeploy: $name is not set. Run it through azd: azd hooks run postdeploy" >&2
        exit 1
    fi
done

# A new app takes a while until its functions are listed; until its host runs, the question itself may be refused.
tries=${POSTDEPLOY_TRIES:-30}
pause=${POSTDEPLOY_PAUSE:-10}
while :; do
    functions=$(az functionapp function list --resource-group "$AZURE_RESOURCE_GROUP" --name "$LIFECYCLE_APP" \
        --query '[].name' --output tsv) || functions=
    [ -n "$functions" ] && break
    tries=$((tries - 1))
    if [ "$tries" -le 0 ]; then
        echo "postdeploy: $LIFECYCLE_APP shows no functions. Look at its log stream, then: azd hooks run postdeploy" >&2
        exit 1
    fi
    sleep "$pause"
done

# They are listed as APP/FUNCTION.
names=$(printf '%s\n' "$functions" | sed 's|.*/||' | tr -d '\r' | paste -sd, -)
for wanted in secret_near_expiry device_deleted; do
    case ",$names," in
    *",$wanted,"*) ;;
    *) echo "postdeploy: the app has no function $wanted; nothing is subscribed to it" ;;
    esac
done

az deployment group create --resource-group "$AZURE_RESOURCE_GROUP" --name events --template-file events.bicep \
    --only-show-errors --output none --parameters \
    appId="$LIFECYCLE_APP_ID" \
    functions="$names" \
    vaultTopicId="$VAULT_TOPIC_ID" \
    hubTopicIds="${HUB_TOPIC_IDS:-}" \
    identityId="$EVENTS_IDENTITY_ID" \
    deadLetterAccountId="$DEAD_LETTER_ACCOUNT_ID" \
    deadLetterContainer="$DEAD_LETTER_CONTAINER"
echo "postdeploy: subscribed what the app has of it: $names"
