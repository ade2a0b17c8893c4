"""How far a purge is, in the words of its phases: pure."""

from lifecycle.jobs import Progress
from lifecycle.purge.state import State


def progress(state: State) -> Progress:
    """What the phase that a run is at has done, of how much where that is known.

    Args:
        state: of the run.
    """
    tally, again = state.tally, f", pass {state.passed}" if state.passed > 1 else ""
    listed = tally.population + tally.aside
    match state.phase:
        case "individuals":
            done, total, unit, name = tally.pages, None, "pages", "individual enrollments"
        case "groups":
            done, total, unit, name = listed, None, "records", "listing"
        case "evidence":
            done, total, unit, name = tally.population, listed, "records", "asking hubs"
        case "orphans":
            done, total, unit, name = state.at, len(state.gone), "old listings", "orphans"
        case "weigh":
            done, total, unit, name = state.looked, None, "marks", "weighing"
        case "act":
            done = state.deleted + sum(state.left.values())
            total = max(done, state.before_act + sum(tally.due.values()))
            unit, name = "deletes", "deleting"
        case _:
            done, total, unit, name = tally.population, tally.population, "records", "looked at"
    return Progress(done, total, unit, name + again)
