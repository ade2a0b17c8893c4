"""Python's azure-iothub-provisioningserviceclient 1.2.0, unmodified: every operation, at its old version."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.clients_of_dps.served import Served, in_thread
from tests.local.dps.rig import HUBS, PRIMARY, SECONDARY, group, individual

try:
    import provisioningserviceclient as sdk  # type: ignore[import-untyped]  # it has no types
    from provisioningserviceclient.protocol import models  # type: ignore[import-untyped]  # nor its parts
except ImportError:
    pytest.fail(
        "azure-iothub-provisioningserviceclient is not installed: `./run test` installs it", pytrace=False
    )


@pytest.fixture(autouse=True)
def trust(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client takes its authorities from the environment alone, afresh for each request."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(served.ca))


@contextmanager
def client_of(served: Served) -> Iterator[Any]:
    client = sdk.ProvisioningServiceClient.create_from_connection_string(served.connection_string)
    with client._runtime_client:  # the client itself cannot be closed
        yield client


def keys() -> Any:
    return models.AttestationMechanism(
        type="symmetricKey",
        symmetric_key=models.SymmetricKeyAttestation(primary_key=PRIMARY, secondary_key=SECONDARY),
    )


def enrollment(name: str) -> Any:
    twin = sdk.models.InitialTwin.create(tags={"site": "x"}, desired_properties={"rate": 3})
    return sdk.IndividualEnrollment.create(
        name, keys(), device_id=f"{name}-at-hub", initial_twin=twin, iot_hubs=[HUBS[0]]
    )


def enrollment_group(name: str) -> Any:
    return sdk.EnrollmentGroup.create(name, keys(), provisioning_status="enabled")


def refused(call: Callable[..., Any], *args: Any) -> int:
    with pytest.raises(sdk.ProvisioningServiceError) as refusal:
        call(*args)
    return int(refusal.value.cause.response.status_code)


async def test_an_individual_enrollment_lives_and_dies(served: Served) -> None:
    def work() -> None:
        with client_of(served) as client:
            made = client.create_or_update(enrollment("one"))
            assert (made.registration_id, made.device_id, made.iot_hubs) == ("one", "one-at-hub", [HUBS[0]])
            read = client.get_individual_enrollment("one")
            assert (read.initial_twin.tags, read.initial_twin.desired_properties) == (
                {"site": "x"},
                {"rate": 3},
            )
            shown = client.get_individual_enrollment_attestation_mechanism("one")
            assert shown.symmetric_key.primary_key == PRIMARY
            read.provisioning_status = "disabled"
            changed = client.create_or_update(read)
            assert (changed.provisioning_status, changed.etag != read.etag) == ("disabled", True)
            assert refused(client.create_or_update, read) == 412
            assert refused(client.create_or_update, enrollment("one")) == 409
            assert refused(client.delete_individual_enrollment_by_param, "one", read.etag) == 412
            client.delete(changed)
            assert refused(client.get_individual_enrollment, "one") == 404

    await in_thread(work)


async def test_an_enrollment_group_lives_and_dies(served: Served) -> None:
    def work() -> None:
        with client_of(served) as client:
            made = client.create_or_update(enrollment_group("g1"))
            read = client.get_enrollment_group("g1")
            assert (read.enrollment_group_id, read.etag) == ("g1", made.etag)
            shown = client.get_enrollment_group_attestation_mechanism("g1")
            assert shown.symmetric_key.secondary_key == SECONDARY
            assert refused(client.delete_enrollment_group_by_param, "g1", "another") == 412
            client.delete_enrollment_group_by_param("g1", read.etag)
            assert refused(client.get_enrollment_group, "g1") == 404

    await in_thread(work)


async def test_queries_page_and_bulk_fills_and_empties(served: Served) -> None:
    def work() -> None:
        with client_of(served) as client:
            names = [f"one-{number}" for number in range(5)]
            told = client.run_bulk_operation(
                sdk.BulkEnrollmentOperation("create", [enrollment(n) for n in names])
            )
            assert told.is_successful
            query = client.create_individual_enrollment_query(sdk.QuerySpecification("SELECT *"), 2)
            assert [[each.registration_id for each in page] for page in query] == [
                names[:2],
                names[2:4],
                names[4:],
            ]
            again = client.run_bulk_operation(sdk.BulkEnrollmentOperation("create", [enrollment("one-0")]))
            assert (again.is_successful, again.errors[0].registration_id) == (False, "one-0")
            gone = client.run_bulk_operation(
                sdk.BulkEnrollmentOperation("delete", [enrollment(n) for n in names])
            )
            assert gone.is_successful
            for number in range(3):
                client.create_or_update(enrollment_group(f"g{number}"))
            groups = client.create_enrollment_group_query(sdk.QuerySpecification("SELECT *"), 2)
            assert [[each.enrollment_group_id for each in page] for page in groups] == [["g0", "g1"], ["g2"]]

    await in_thread(work)


async def test_registration_states_are_read_listed_and_deleted(served: Served) -> None:
    def prepare() -> None:
        with client_of(served) as client:
            client.create_or_update(enrollment_group("g1"))

    await in_thread(prepare)
    for number in range(3):
        await served.register(f"d-{number}")

    def work() -> None:
        with client_of(served) as client:
            # create_registration_state_query hands its arguments on in the wrong places: one layer below it.
            listed = client._runtime_client.query_device_registration_states("g1", raw=True)
            assert [each.registration_id for each in listed.output] == ["d-0", "d-1", "d-2"]
            state = client.get_registration_state("d-0")
            assert state.status == "assigned"
            assert refused(client.delete_registration_state_by_param, "d-0", "another") == 412
            client.delete(state)
            assert refused(client.get_registration_state, "d-0") == 404

    await in_thread(work)


async def test_an_older_version_reads_what_a_newer_one_wrote(served: Served) -> None:
    def work() -> None:
        with client_of(served) as client:
            assert client.get_individual_enrollment("dev-1").registration_id == "dev-1"
            assert client.get_enrollment_group("g1").enrollment_group_id == "g1"

    async with httpx.AsyncClient(verify=served.trust, base_url=served.address.url, trust_env=False) as http:
        for path, body in (("enrollments/dev-1", individual()), ("enrollmentGroups/g1", group())):
            answer = await http.put(
                f"/{path}?api-version=2021-10-01",
                json={**body, "namespaceName": "later"},
                headers={"authorization": served.service_token},
            )
            assert answer.status_code == 200, answer.text
    await in_thread(work)
