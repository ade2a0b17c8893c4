"""How far a decommissioning is, in the words of its phases: pure."""

from lifecycle.decommission.state import State
from lifecycle.jobs import Progress


def progress(state: State) -> Progress:  # noqa: PLR0911 - a phase each
    """What the phase that a run is at has done, of how much where that is known.

    Args:
        state: of the run.
    """
    looked, again = state.left.records, f", pass {state.passed}" if state.passed > 1 else ""
    match state.phase:
        case "survey":
            return Progress(looked, None, "records", "listing")
        case "weigh":
            return Progress(state.survey.records, state.listed, "records", "asking hubs")
        case "count":
            return Progress(looked, None, "records", "counting again")
        case "purge" if state.passed == 1:
            return Progress(state.deleted, max(state.counted, state.deleted), "deletes", "purge")
        case "purge" | "after":
            return Progress(looked, None, "records", f"{state.phase}{again}")
        case "by-id":
            return Progress(looked, state.ids, "ids", f"by id{again}")
        case "elsewhere":
            total = None if state.groups is None else len(state.groups)
            return Progress(state.at, total, "groups", "other groups")
        case "orphans":
            return Progress(state.proven - len(state.open), state.proven, "records", "left behind")
        case _:
            return Progress(0, None, "records", state.phase)
