"""The admin port: faults, switches, clock and journal of a running world, for people and for tests outside.

It is this project's own and no Azure service has it. Every request needs the port's token in the header
`x-local-admin-token`. Answers are JSON; an error is `{"error": TEXT}`, whose text names the member and the
fix. Nothing secret comes out: the journal is masked as it is written.

- `GET /journal?service=&method=&path=&status=&last=`: the latest calls that match, oldest first
- `GET /faults`, `POST /faults` (a rule), `DELETE /faults`, `DELETE /faults/{id}`
- `GET /switches`, `PUT /switches/{name}` with `{"position": VALUE}`; 409 once it was consulted
- `GET /clock`, `POST /clock` with `{"advance": SECONDS}`
- `GET /events`, `PUT /events/disorder`; `PUT` and `DELETE /events/subscriptions/{name}`
"""

from local.admin.port import TOKEN_HEADER, AdminPort, Moved

__all__ = ["TOKEN_HEADER", "AdminPort", "Moved"]
