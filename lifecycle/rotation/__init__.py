"""Rotation of enrollment groups' symmetric keys: a pure state machine, and one thin run of it.

A group has two slots, and devices hold keys derived from the key in one of them. To put a new key into a slot
locks out every device that still uses that slot's old one, at its next registration. So:

    idle -> staging         a new key goes to the vault as NAME-pending, then into the free slot
    staging -> written      the slot was seen to hold it
    written -> verified     read back once more, with nothing else changed
    verified -> promoted    a canary got in with it (if asked for), and it is the live secret's next version
    promoted -> overlap     devices have until a date to take their new keys
    overlap -> retiring     the date has passed; somebody must say that the old slot may go
    retiring -> idle        by that consent the old slot is free. Its key opens DPS until the next rotation
    any -> blocked          somebody must decide; nothing was lost, and the row says what is asked
    staging -> failed       the group is gone, or has no symmetric keys

What may go wrong, and what follows:

    a worker dies anywhere  every step reads DPS and the vault anew and does only what is missing: a key is
                            found again by its RotationId, a placed key by comparing
    an answer is lost       the same; the job loop waits before the next look
    somebody else writes    the PUT carries the ETag of what was judged; the vault's newest version is
                            compared with the one that the rotation replaces. What does not fit blocks;
                            nothing is overwritten that this rotation did not look at
    events come twice       a rotation replaces one version of the live secret, and starts for no other
    keys                    are compared in memory and live in DPS and the vault alone. A key that is to be
                            overwritten goes to NAME-replaced before
"""
