"""The roll of the webhook's own key: the function key that stands in every enrollment's webhook URL.

Whoever changes it in one place alone breaks registrations: DPS gets 401, and the device fails at once
(400209). So the new key stands beside the old one until nobody needs that any more:

    idle -> staging       the old key is in the vault; the new one goes to NAME-pending, then to the app
    staging -> canary     the webhook took it many times in a row: instances cache their keys
    canary -> spreading   one enrollment has it, and a device of it was placed; if one was refused for the
                          key, the canary gets the old one again and the roll is blocked
    spreading -> overlap  it is the live secret's next version; a job gave it to every enrollment, and a
                          whole pass found nothing left
    overlap -> idle       nobody has used the old key for some days, somebody agreed, and another whole pass,
                          begun after that, found nothing: it is deleted. One more pass follows

Who does what: an operator's command, under the operator's own login, works with the app's keys, because the
app has no rights on its own. It ends where the app's job begins, and is called again for the deletion. Each
of its steps looks at the services first and does only what is missing, so it may die anywhere: `start` goes
on. One command walks at a time (roll.py). The key reaches the job, and whoever writes an enrollment whose
read masks the URL, by reference: the name of the vault's secret.

What may go wrong, and what follows:

    a command dies          its name stays on the row for ten minutes; then the next one goes on
    an answer is lost       keys are listed, versions found by the roll's id, the enrollment read again
    the canary is masked    its key cannot be told: it is written again, never "seen to be right"
    an old URL comes back   the pass right before the deletion finds it, or its use is counted: nothing is
                            deleted. Behind that pass, while it lasts and for some seconds more, one is not
                            seen: it is given the new key by the pass after the deletion, and a device of it
                            that comes in between is refused. Where URLs are masked a pass sees no key: it
                            writes each enrollment, and that it did is the proof
    somebody writes slowly  `apply`, `webhook attach` and every change of a masked enrollment read the key
                            anew for each, after its reading; the old one of a published roll is refused
    a command sleeps        it deletes nothing on a pass that ended while it, or the machine, slept
    the count is missing    nothing is deleted unless that is said expressly
    another DPS             has enrollments that this one's job does not see. It goes along (follow.py) with
                            a row and a job of its own, and the old key waits for it. One that has called
                            with either key and does not go along keeps the key, unless that is said, too
"""
