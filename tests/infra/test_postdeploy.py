"""The hook after a deployment, run against an az that only writes down what it was asked."""

import subprocess
from pathlib import Path

import pytest

from tests.infra.reading import INFRA, template

PROVIDERS = "/subscriptions/s/resourceGroups/rg-factory/providers"
OUTPUTS = {
    "AZURE_RESOURCE_GROUP": "rg-factory",
    "LIFECYCLE_APP": "func-lifecycle-abc",
    "LIFECYCLE_APP_ID": f"{PROVIDERS}/Microsoft.Web/sites/func-lifecycle-abc",
    "VAULT_TOPIC_ID": f"{PROVIDERS}/Microsoft.EventGrid/systemTopics/v",
    "HUB_TOPIC_IDS": "/a/b,/c/d",
    "EVENTS_IDENTITY_ID": "/identity",
    "DEAD_LETTER_ACCOUNT_ID": "/account",
    "DEAD_LETTER_CONTAINER": "deadletters",
}

AZ = """#!/bin/sh
echo "$*" >>"$(dirname "$0")/asked"
case "$*" in
functionapp*)
    starting="$(dirname "$0")/starting"
    [ -e "$starting" ] && rm "$starting" && echo ServiceUnavailable >&2 && exit 1
    [ -e "$(dirname "$0")/empty" ] && rm "$(dirname "$0")/empty" && exit 0
    cat "$(dirname "$0")/functions"
    ;;
esac
"""


class Machine:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "az").write_text(AZ)
        (folder / "az").chmod(0o755)
        self.has("count_devices", "secret_near_expiry", "device_deleted")

    def has(self, *functions: str) -> None:
        (self.folder / "functions").write_text(
            "".join(f"func-lifecycle-abc/{each}\r\n" for each in functions)
        )

    def run(self, **changed: str) -> "subprocess.CompletedProcess[str]":
        path = f"{self.folder}:/usr/bin:/bin"
        environment = {**OUTPUTS, **changed, "PATH": path, "POSTDEPLOY_PAUSE": "0", "POSTDEPLOY_TRIES": "2"}
        return subprocess.run(
            ["/bin/sh", INFRA / "postdeploy.sh"], env=environment, capture_output=True, text=True, check=False
        )

    @property
    def asked(self) -> list[str]:
        file = self.folder / "asked"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_it_deploys_the_subscriptions_with_the_outputs_of_the_deployment(machine: Machine) -> None:
    ran = machine.run()
    assert (ran.returncode, ran.stderr) == (0, "")
    deployed = machine.asked[-1]
    assert deployed.startswith("deployment group create --resource-group rg-factory --name events")
    given = dict(each.split("=", 1) for each in deployed.partition(" --parameters ")[2].split(" "))
    assert given == {
        "appId": OUTPUTS["LIFECYCLE_APP_ID"],
        "functions": "count_devices,secret_near_expiry,device_deleted",
        "vaultTopicId": OUTPUTS["VAULT_TOPIC_ID"],
        "hubTopicIds": OUTPUTS["HUB_TOPIC_IDS"],
        "identityId": "/identity",
        "deadLetterAccountId": "/account",
        "deadLetterContainer": "deadletters",
    }
    assert set(given) == set(template(INFRA / "events.bicep").parameters)


def test_it_reads_outputs_that_the_main_template_has() -> None:
    assert set(OUTPUTS) <= set(template(INFRA / "main.bicep").outputs)


def test_a_function_that_the_app_does_not_have_is_said(machine: Machine) -> None:
    machine.has("count_devices", "secret_near_expiry")
    ran = machine.run()
    assert ran.returncode == 0
    assert "no function device_deleted" in ran.stdout
    assert "no function secret_near_expiry" not in ran.stdout
    assert "functions=count_devices,secret_near_expiry " in machine.asked[-1]


def test_a_new_app_is_waited_for(machine: Machine) -> None:
    (machine.folder / "empty").touch()
    ran = machine.run()
    assert ran.returncode == 0
    assert len([each for each in machine.asked if each.startswith("functionapp")]) == 2


def test_an_app_whose_host_does_not_answer_yet_is_waited_for(machine: Machine) -> None:
    (machine.folder / "starting").touch()
    ran = machine.run()
    assert ran.returncode == 0, ran.stderr
    assert "ServiceUnavailable" in ran.stderr, "who may not list them sees why"
    assert machine.asked[-1].startswith("deployment")


def test_an_app_without_functions_is_an_error_that_says_what_to_do(machine: Machine) -> None:
    machine.has()
    ran = machine.run()
    assert ran.returncode == 1
    assert "azd hooks run postdeploy" in ran.stderr
    assert not any(each.startswith("deployment") for each in machine.asked)


def test_without_an_output_nothing_is_called(machine: Machine) -> None:
    ran = machine.run(VAULT_TOPIC_ID="")
    assert ran.returncode == 1
    assert "VAULT_TOPIC_ID is not set" in ran.stderr
    assert machine.asked == []


def test_no_hub_topics_are_none(machine: Machine) -> None:
    assert machine.run(HUB_TOPIC_IDS="").returncode == 0
    assert " hubTopicIds= " in machine.asked[-1]
