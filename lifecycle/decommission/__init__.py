"""An enrollment group taken out of service: disabled, its keys kept, its records purged, deleted.

In this order, each step a look and then a change, so that a death anywhere leads to the same end:

1.  survey   every record of the group is listed and the hubs are asked. Where a device is in use, or what a
             guard needs is not known, or too many records would go, it ends here and nothing has changed.
2.  disable  the group, with its keys sent again (lifecycle.enrollments.change). From here on no device gets a
             place through it.
3.  escrow   its symmetric keys go to the vault, unless the operator said otherwise.
4.  count    its records once more: the survey may have taken hours. Where more would go than may, or a device
             has registered since, it ends here and no record is deleted.
5.  purge    its records, page by page: each is looked at again, archived, and deleted under the ETag that it
             was listed with. A device that registered since has a record with another ETag, whatever
             enrollment it came through, and the record stays. Pass after pass, until one finds nothing and
             began when no registration of before the disabling can still be under way.
6.  delete   the group under its ETag, its keys once more in the vault first: they may have been rotated.
7.  after    what came in between. DPS may still list a deleted group's records, or not (unknown): so every id
             that the run ever listed is read as well, and what is there by then must be in no listing of any
             group before it goes.

No more registrations lose their records than the operator said, each counted once however often it comes
back: what is over ends the run, or is left and told once the group is gone. A group has one run at a time
(lifecycle.purge.holds).

Nothing is deleted on a reading of this order alone: the group's ETag, each record's ETag and the time of the
group's making are looked at when it happens. The devices' identities at the hubs are left as they are.
"""
