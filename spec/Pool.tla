-------------------------------- MODULE Pool --------------------------------
(***************************************************************************)
(* A database connection pool, as spec/README.md describes it.             *)
(*                                                                         *)
(* Theory.  The pool is one value, `pool`.  An event comes from outside at *)
(* the time `now`; it changes the pool and has effects, which `last` shows *)
(* with the event that had them.  Every event is handled the same way:     *)
(* guard, small update, serve.  An event that is not allowed leaves the    *)
(* pool as it is and says so.                                              *)
(*                                                                         *)
(* There is one action for each event, with the event's name.  Rule ids    *)
(* (ACQ-1, ...) are those of spec/README.md; the comment above an action   *)
(* names the handler in pool/core/transition.py, the reference             *)
(* implementation, which this module was not derived from: loops there are *)
(* sets, counts and sequences here.  `purepool check --against-tla`        *)
(* compares the graphs of all reachable states of the two.                 *)
(*                                                                         *)
(* The pool refuses to know who acts when.  Which tickets, keys and times  *)
(* events come with is the business of MCPool.tla, which also keeps the    *)
(* number of states finite, by way of `Shape` and `Clock`.                 *)
(***************************************************************************)
EXTENDS Integers, Sequences, FiniteSets

CONSTANTS
    None,         \* where there is no value
    Start,        \* the time of the first event
    Choices,      \* a sequence of limits: the first is in force at the beginning
    Shape(_, _),  \* what is kept of a pool, at a time; for the pool itself: all of it
    Clock(_)      \* what the clock shows afterwards; for the pool itself: that time

VARIABLES
    pool,  \* the state of README section 3; of `limits`, the place in Choices
    now,   \* the time at which the next event comes
    last   \* the last event, its effects, and who was then where

vars == <<pool, now, last>>

-----------------------------------------------------------------------------
(* Words for what follows. *)

Range(seq) == {seq[i] : i \in DOMAIN seq}

Smallest(S) == CHOOSE x \in S : \A y \in S : x <= y
Greatest(S) == CHOOSE x \in S : \A y \in S : y <= x

\* The elements of a set as a sequence; Before(_, _) says of any two which comes first.
Sorted(S, Before(_, _)) ==
    [i \in 1..Cardinality(S) |->
        CHOOSE x \in S : Cardinality({y \in S : Before(y, x)}) = i - 1]

Each(seq, F(_)) == [i \in DOMAIN seq |-> F(seq[i])]
First(n, seq) == SubSeq(seq, 1, n)
Without(n, seq) == SubSeq(seq, n + 1, Len(seq))
Reversed(seq) == [i \in DOMAIN seq |-> seq[Len(seq) + 1 - i]]

InTicketOrder(S) == Sorted(S, LAMBDA a, b : a.ticket < b.ticket)
InKeyOrder(S) == Sorted(S, LAMBDA a, b : a.entry.key < b.entry.key)

-----------------------------------------------------------------------------
(* The state, section 3. *)

Limits(p) == Choices[p.limits]

Empty ==  \* INI-1
    [ phase              |-> "open",
      limits             |-> 1,
      idle               |-> <<>>,  \* in the order in which they would be lent
      in_use             |-> {},    \* leases
      waiters            |-> {},    \* [ticket, owner]
      opening_tickets    |-> {},    \* [ticket, owner]
      opening_background |-> 0,
      failures           |-> 0,
      retry_at           |-> IF Choices[1].min_idle > 0 THEN 0 ELSE None,
      last_error         |-> None,
      retire_before      |-> 0,
      next_seq           |-> 1,
      next_ticket        |-> 1,
      issued             |-> 0,
      granted            |-> 0,
      counters           |-> [ opened |-> 0, adopted |-> 0, closed |-> 0, forgotten |-> 0,
                               refused |-> 0, cancelled |-> 0, dead |-> 0 ] ]

Opening(p) == Cardinality(p.opening_tickets) + p.opening_background
Size(p) == Len(p.idle) + Cardinality(p.in_use) + Opening(p)
Full(p) == Limits(p).max_size # None /\ Size(p) >= Limits(p).max_size

Waiting(p, ticket) == {w \in p.waiters : w.ticket = ticket}
Connecting(p, ticket) == {w \in p.opening_tickets : w.ticket = ticket}
Held(p, ticket, key) == {l \in p.in_use : l.ticket = ticket /\ l.entry.key = key}

\* ORD-1: of two idle connections, the one that is lent first.
Order(limits, item) ==
    CASE limits.idle_order = "oldest" -> item.entry.created
      [] limits.idle_order = "lifo"   -> -item.seq
      [] limits.idle_order = "fifo"   -> item.seq

LentBefore(limits, a, b) ==
    \/ Order(limits, a) < Order(limits, b)
    \/ /\ Order(limits, a) = Order(limits, b)
       /\ a.seq < b.seq \/ (a.seq = b.seq /\ a.entry.key < b.entry.key)

InLendOrder(limits, S) == Sorted(S, LAMBDA a, b : LentBefore(limits, a, b))

\* Jitter is counted in halves. These two alone know it; Trace.tla counts it in time.
Aged(p, entry, time) ==
    2 * (time - entry.created) >= Limits(p).max_lifetime * (2 - entry.jitter)
Shortened(pause, jitter) == (pause * (2 - jitter)) \div 2

\* AGE-1: why a connection has expired, or None.
Expired(p, entry, time) ==
    IF entry.created < p.retire_before THEN "retired"
    ELSE IF Limits(p).max_lifetime # None /\ Aged(p, entry, time) THEN "lifetime"
    ELSE None

-----------------------------------------------------------------------------
(* Effects, section 4. What a transition has come to is an outcome: the pool, the wakes  *)
(* and the Io so far.                                                                      *)

Outcome(p) == [pool |-> p, wakes |-> <<>>, io |-> <<>>]

\* Each waiter of one sequence gets the connection of the other in the same place.
\* `offers` are records of an entry and for how long it rested.
Grants(o, waiters, offers, time) ==
    LET places == DOMAIN waiters
        Lease(i) == [ entry |-> offers[i].entry, checked_out |-> time,
                      ticket |-> waiters[i].ticket, owner |-> waiters[i].owner,
                      leaked |-> FALSE ]
        Grant(i) == [ effect |-> "Grant", ticket |-> waiters[i].ticket,
                      key |-> offers[i].entry.key, connection |-> offers[i].entry.connection,
                      rested |-> offers[i].rested ]
    IN  [ o EXCEPT !.pool.in_use = @ \cup {Lease(i) : i \in places},
                   !.pool.granted = @ + Len(waiters),
                   !.wakes = @ \o [i \in places |-> Grant(i)] ]

\* Tickets, in the order given, get nothing.
Refusals(o, tickets, reason) ==
    LET Refuse(ticket) == [ effect |-> "Refuse", ticket |-> ticket, reason |-> reason,
                            error |-> o.pool.last_error ]
    IN  [ o EXCEPT !.pool.counters.refused = @ + Len(tickets),
                   !.wakes = @ \o Each(tickets, Refuse) ]

\* Connections, in the order given, are let go of; Reason(_) says why.
Closings(o, entries, Reason(_)) ==
    LET Close(entry) == [ effect |-> "Close", key |-> entry.key,
                          connection |-> entry.connection, reason |-> Reason(entry) ]
    IN  [ o EXCEPT !.pool.counters.closed = @ + Len(entries),
                   !.io = @ \o Each(entries, Close) ]

Closing(o, entry, reason) == Closings(o, <<entry>>, LAMBDA e : reason)

Opens(tickets) == [i \in DOMAIN tickets |-> [effect |-> "Open", ticket |-> tickets[i]]]

Entries(items) == Each(items, LAMBDA item : item.entry)
Tickets(callers) == Each(InTicketOrder(callers), LAMBDA caller : caller.ticket)

-----------------------------------------------------------------------------
(* Serve, section 5. *)

\* SRV-2.  Of the idle connections, the first that have not expired go to the oldest
\* waiters.  What has expired is closed if it stood before one of them, or if there was not
\* enough for all: then it was looked at.
Lend(o, time) ==
    LET p       == o.pool
        Fits(item) == Expired(p, item.entry, time) = None
        queue   == InTicketOrder(p.waiters)
        good    == SelectSeq(p.idle, Fits)
        lent    == Smallest({Len(queue), Len(good)})
        \* how many are looked at
        seen    == IF Len(good) < Len(queue) THEN Len(p.idle)
                   ELSE Smallest({n \in 0..Len(p.idle) :
                                    Len(SelectSeq(First(n, p.idle), Fits)) = lent})
        bad     == SelectSeq(First(seen, p.idle), LAMBDA item : ~Fits(item))
        offers  == [i \in 1..lent |->
                        [entry |-> good[i].entry, rested |-> time - good[i].since]]
        left    == [o EXCEPT !.pool.idle = Without(seen, @),
                             !.pool.waiters = @ \ Range(First(lent, queue))]
    IN  Closings(Grants(left, First(lent, queue), offers, time),
                 Entries(bad), LAMBDA entry : Expired(p, entry, time))

\* SRV-5: how many of `wanted` connects there is room for.
RoomFor(p, wanted) ==
    LET limits == Limits(p)
        binds  == p.idle # <<>> \/ p.in_use # {}
        most   == {limits.max_connecting} \cup (IF binds THEN {limits.max_opening} ELSE {})
    IN  Greatest({0, Smallest(
            {wanted}
            \cup (IF limits.max_size = None THEN {} ELSE {limits.max_size - Size(p)})
            \cup {bound - Opening(p) : bound \in most \ {None}})})

\* SRV-3: the oldest waiters for whom there is room connect.
CallersOpen(o) ==
    LET n    == RoomFor(o.pool, Cardinality(o.pool.waiters))
        turn == First(n, InTicketOrder(o.pool.waiters))
    IN  [o EXCEPT !.pool.waiters = @ \ Range(turn),
                  !.pool.opening_tickets = @ \cup Range(turn),
                  !.wakes = @ \o Opens(Tickets(Range(turn)))]

\* SRV-4: somebody connects for those who wait and for what is short of min_idle.
SomebodyOpens(o, time) ==
    LET p      == o.pool
        short  == Greatest({0, Limits(p).min_idle - Len(p.idle)})
        demand == Cardinality(p.waiters) + short
        n      == RoomFor(p, demand - p.opening_background)
    IN  IF p.retry_at # None /\ time < p.retry_at THEN o
        ELSE [o EXCEPT !.pool.retry_at = None,
                       !.pool.opening_background = @ + n,
                       !.io = @ \o Opens([i \in 1..n |-> None])]

Serve(o, time) ==
    IF o.pool.phase # "open" THEN o  \* SRV-1
    ELSE LET lent == Lend(o, time)
         IN  IF Limits(lent.pool).opener = "caller" THEN CallersOpen(lent)
             ELSE SomebodyOpens(lent, time)

-----------------------------------------------------------------------------
(* Settle and send away, section 5. *)

\* SET-1
Settle(o, entry, time) ==
    LET p      == o.pool
        reason == CASE p.phase = "closed"              -> "closed"
                    [] p.phase # "closed" /\ Expired(p, entry, time) # None
                                                       -> Expired(p, entry, time)
                    [] OTHER                           -> IF Full(p) THEN "surplus" ELSE None
        item   == [entry |-> entry, since |-> time, seq |-> p.next_seq]
    IN  IF reason # None THEN Closing(o, entry, reason)
        ELSE [o EXCEPT !.pool.next_seq = @ + 1,
                       !.pool.idle = InLendOrder(Limits(p), Range(@) \cup {item})]

\* AWY-1
SendAway(o, ticket, reason) ==
    LET gone == [o EXCEPT !.pool.waiters = @ \ Waiting(o.pool, ticket)]
    IN  Refusals(gone, <<ticket>>,
                 IF o.pool.phase = "suspended" /\ reason \in {"exhausted", "timeout"}
                 THEN "suspended" ELSE reason)

\* The idle connections that have expired are closed (RET-3, TIC-1).
Sweep(o, time) ==
    LET Fits(item) == Expired(o.pool, item.entry, time) = None
        bad == SelectSeq(o.pool.idle, LAMBDA item : ~Fits(item))
    IN  Closings([o EXCEPT !.pool.idle = SelectSeq(@, Fits)],
                 Entries(bad), LAMBDA entry : Expired(o.pool, entry, time))

\* Idle connections are ordered, and those above max_size closed, the last lent first
\* (CFG-3, CFG-4, ADO-5).
Arrange(o) ==
    LET p       == o.pool
        ordered == InLendOrder(Limits(p), Range(p.idle))
        above   == IF Limits(p).max_size = None THEN 0
                   ELSE Greatest({0, Size(p) - Limits(p).max_size})
        n       == Smallest({above, Len(ordered)})
        kept    == Len(ordered) - n
    IN  Closings([o EXCEPT !.pool.idle = First(kept, ordered)],
                 Entries(Reversed(Without(kept, ordered))), LAMBDA entry : "surplus")

CloseAllIdle(o, reason) ==
    Closings([o EXCEPT !.pool.idle = <<>>], Entries(o.pool.idle), LAMBDA entry : reason)

RefuseEverybody(o, reason) ==
    Refusals([o EXCEPT !.pool.waiters = {}, !.pool.opening_tickets = {}],
             Tickets(o.pool.waiters \cup o.pool.opening_tickets), reason)

\* The pool without a lease.
Ended(o, lease) == [o EXCEPT !.pool.in_use = @ \ {lease}]

-----------------------------------------------------------------------------
(* How every event ends. *)

\* Who is where, by the names that Shape has not changed yet.
Left(p) == [ waiters |-> {w.ticket : w \in p.waiters},
             opening |-> {w.ticket : w \in p.opening_tickets},
             in_use  |-> {<<lease.entry.key, lease.ticket>> : lease \in p.in_use},
             idle    |-> Each(p.idle, LAMBDA item : item.entry.key) ]

Does(event, o) ==
    \E done \in {o} :  \* so that TLC works it out once
        /\ pool' = Shape(done.pool, now)
        /\ now' = Clock(now)
        /\ last' = [ event |-> event, effects |-> done.wakes \o done.io,
                     left |-> Left(done.pool) ]

Ignores(event) ==
    /\ last' = [event |-> event, effects |-> <<[effect |-> "Ignored"]>>, left |-> Left(pool)]
    /\ UNCHANGED <<pool, now>>

Finishes(event, o) == Does(event, Serve(o, now))

-----------------------------------------------------------------------------
(* Callers, section 6. *)

\* transition.acquire
Acquire(ticket, wait, owner) ==
    LET event  == [name |-> "Acquire", ticket |-> ticket, wait |-> wait, owner |-> owner]
        known  == [pool EXCEPT !.next_ticket = ticket + 1, !.issued = @ + 1]
        joined == [known EXCEPT !.waiters = @ \cup {[ticket |-> ticket, owner |-> owner]}]
        served == Serve(Outcome(joined), now)
        most   == Limits(pool).max_waiting
    IN  IF ticket < pool.next_ticket THEN Ignores(event)                            \* ACQ-1
        ELSE IF pool.phase = "closed"
        THEN Does(event, Refusals(Outcome(known), <<ticket>>, "closed"))            \* ACQ-2
        ELSE IF Waiting(served.pool, ticket) = {} THEN Does(event, served)          \* ACQ-3
        ELSE IF ~wait THEN Does(event, SendAway(served, ticket, "exhausted"))       \* ACQ-4
        ELSE IF most # None /\ Cardinality(served.pool.waiters) > most
        THEN Does(event, SendAway(served, ticket, "too_many_waiting"))              \* ACQ-5
        ELSE Does(event, served)

\* transition.expire
Expire(ticket) ==
    LET event == [name |-> "Expire", ticket |-> ticket]
    IN  IF Waiting(pool, ticket) = {} THEN Ignores(event)                           \* EXP-1
        ELSE Finishes(event, SendAway(Outcome(pool), ticket, "timeout"))            \* EXP-2

\* transition.cancel
Cancel(ticket) ==
    LET event == [name |-> "Cancel", ticket |-> ticket]
        mine  == {lease \in pool.in_use : lease.ticket = ticket /\ ticket # 0}
    IN  IF Waiting(pool, ticket) # {}
        THEN Finishes(event, Outcome([pool EXCEPT !.waiters = @ \ Waiting(pool, ticket),
                                                  !.counters.cancelled = @ + 1]))   \* CAN-2
        ELSE IF Connecting(pool, ticket) # {}
        THEN Finishes(event,
                Outcome([pool EXCEPT !.opening_tickets = @ \ Connecting(pool, ticket),
                                     !.counters.cancelled = @ + 1]))                \* CAN-3
        ELSE IF mine # {}
        THEN LET lease == CHOOSE l \in mine : TRUE
             IN  Finishes(event,
                          Settle(Ended(Outcome(pool), lease), lease.entry, now))    \* CAN-4
        ELSE Ignores(event)                                                         \* CAN-1

-----------------------------------------------------------------------------
(* Driver connects, section 6. *)

\* transition.opened
Opened(ticket, connection, created, jitter) ==
    LET event == [ name |-> "Opened", ticket |-> ticket, connection |-> connection,
                   created |-> created, jitter |-> jitter ]
        entry == [ key |-> pool.next_seq, connection |-> connection,
                   created |-> created, jitter |-> jitter ]
        known == [pool EXCEPT !.next_seq = @ + 1, !.counters.opened = @ + 1]
        offer == <<[entry |-> entry, rested |-> None]>>
        own   == Connecting(pool, ticket)
        \* the success of a connect that was nobody's
        some  == [known EXCEPT !.opening_background = @ - 1, !.failures = 0,
                               !.retry_at = None, !.last_error = None]
        first == First(1, InTicketOrder(pool.waiters))
    IN  IF own # {}
        THEN LET mine == [known EXCEPT !.opening_tickets = @ \ own, !.last_error = None]
             IN  Finishes(event, Grants(Outcome(mine), InTicketOrder(own), offer, now)) \* OPN-2
        ELSE IF ticket = None /\ pool.opening_background > 0
        THEN IF pool.phase = "open" /\ pool.waiters # {} /\ ~Full(some)
             THEN LET taken == [some EXCEPT !.waiters = @ \ Range(first)]
                  IN  Finishes(event, Grants(Outcome(taken), first, offer, now))    \* OPN-3
             ELSE Finishes(event, Settle(Outcome(some), entry, now))                \* OPN-4
        ELSE Finishes(event, Closing(Outcome(known), entry, "unasked"))             \* OPN-1

\* transition.open_failed
OpenFailed(ticket, error, jitter) ==
    LET event  == [name |-> "OpenFailed", ticket |-> ticket, error |-> error,
                   jitter |-> jitter]
        limits == Limits(pool)
        known  == [pool EXCEPT !.last_error = error]
        own    == Connecting(pool, ticket)
        paused == pool.retry_at # None /\ pool.retry_at > now
        pause  == Smallest({limits.backoff_max, limits.backoff_initial * 2 ^ pool.failures})
        some   == IF paused THEN [known EXCEPT !.opening_background = @ - 1]
                  ELSE [known EXCEPT !.opening_background = @ - 1, !.failures = @ + 1,
                                     !.retry_at = now + Shortened(pause, jitter)]
    IN  IF own # {}
        THEN Finishes(event, Refusals(Outcome([known EXCEPT !.opening_tickets = @ \ own]),
                                      <<ticket>>, "open_failed"))                   \* OPF-2
        ELSE IF ticket = None /\ pool.opening_background > 0                        \* OPF-3
        THEN IF pool.phase = "open" /\ pool.counters.opened = 0
             THEN Finishes(event, Refusals(Outcome([some EXCEPT !.waiters = {}]),
                                           Tickets(pool.waiters), "open_failed"))   \* OPF-4
             ELSE Finishes(event, Outcome(some))
        ELSE Ignores(event)                                                         \* OPF-1

-----------------------------------------------------------------------------
(* Holders, section 6. *)

\* transition.dead
Dead(ticket, key, wait) ==
    LET event == [name |-> "Dead", ticket |-> ticket, key |-> key, wait |-> wait]
    IN  IF Held(pool, ticket, key) = {} \/ ticket = 0 THEN Ignores(event)    \* DEA-1, DEA-2
        ELSE LET lease  == CHOOSE l \in Held(pool, ticket, key) : TRUE
                 ended  == Closing(Ended(Outcome(pool), lease), lease.entry, "dead")
                 counted == [ended EXCEPT !.pool.counters.dead = @ + 1]             \* DEA-3
                 back   == [counted EXCEPT !.pool.waiters =
                                @ \cup {[ticket |-> ticket, owner |-> lease.owner]}]
                 served == Serve(back, now)
             IN  IF pool.phase = "closed"
                 THEN Does(event, Refusals(counted, <<ticket>>, "closed"))          \* DEA-4
                 ELSE IF Waiting(served.pool, ticket) # {} /\ ~wait
                 THEN Does(event, SendAway(served, ticket, "exhausted"))            \* DEA-6
                 ELSE Does(event, served)                                           \* DEA-5

\* transition.release
Release(ticket, key, reusable) ==
    LET event == [name |-> "Release", ticket |-> ticket, key |-> key, reusable |-> reusable]
    IN  IF Held(pool, ticket, key) = {} THEN Ignores(event)                         \* REL-1
        ELSE LET lease == CHOOSE l \in Held(pool, ticket, key) : TRUE
                 ended == Ended(Outcome(pool), lease)
             IN  IF reusable THEN Finishes(event, Settle(ended, lease.entry, now))  \* REL-3
                 ELSE Finishes(event, Closing(ended, lease.entry, "not_reusable"))  \* REL-2

\* transition.discard
Discard(ticket, key) ==
    LET event == [name |-> "Discard", ticket |-> ticket, key |-> key]
    IN  IF Held(pool, ticket, key) = {} THEN Ignores(event)                         \* DIS-1
        ELSE LET lease == CHOOSE l \in Held(pool, ticket, key) : TRUE
             IN  Finishes(event, Closing(Ended(Outcome(pool), lease),
                                         lease.entry, "discarded"))                 \* DIS-2

-----------------------------------------------------------------------------
(* Housekeeping, section 6. *)

\* The leases of a set end, and their connections are closed in the order of their keys.
EndAll(o, leases, reason) ==
    Closings([o EXCEPT !.pool.in_use = @ \ leases], Entries(InKeyOrder(leases)),
             LAMBDA entry : reason)

\* transition.close_idle
CloseIdle ==
    Finishes([name |-> "CloseIdle"], CloseAllIdle(Outcome(pool), "close_idle"))     \* CLI-1

\* transition.close_stale
CloseStale(before) ==
    Finishes([name |-> "CloseStale", before |-> before],
             EndAll(Outcome(pool), {l \in pool.in_use : l.checked_out < before},
                    "stale"))                                                       \* CST-1

\* transition.close_all
CloseAll ==
    Finishes([name |-> "CloseAll"],
             EndAll(CloseAllIdle(Outcome(pool), "close_all"), pool.in_use,
                    "close_all"))                                            \* CAL-1, CAL-2

\* transition.retire
Retire ==
    LET event == [name |-> "Retire"]
        later == [pool EXCEPT !.retire_before = Greatest({@, now})]                 \* RET-2
    IN  IF pool.phase = "closed" THEN Ignores(event)                                \* RET-1
        ELSE Finishes(event, Sweep(Outcome(later), now))                            \* RET-3

\* transition.tick
Tick ==
    LET event   == [name |-> "Tick"]
        limits  == Limits(pool)
        swept   == Sweep(Outcome(pool), now)                                        \* TIC-1
        idle    == swept.pool.idle
        byRest  == Sorted(Range(idle), LAMBDA a, b :
                       \/ a.since < b.since
                       \/ a.since = b.since /\ a.seq < b.seq
                       \/ a.since = b.since /\ a.seq = b.seq /\ a.entry.key < b.entry.key)
        rested  == IF limits.max_idle = None THEN {}
                   ELSE {item \in Range(idle) : now >= item.since + limits.max_idle}
        spare   == Greatest({0, Len(idle) - limits.min_idle})
        ended   == First(Smallest({spare, Cardinality(rested)}), byRest)
        shrunk  == Closings([swept EXCEPT !.pool.idle =
                                SelectSeq(@, LAMBDA item : item \notin Range(ended))],
                            Entries(ended), LAMBDA entry : "rested")                \* TIC-2
        leaking == IF limits.leak_after = None THEN {}
                   ELSE {lease \in pool.in_use :
                            ~lease.leaked /\ now >= lease.checked_out + limits.leak_after}
        Leaked(lease) == [ effect |-> "Leaked", ticket |-> lease.ticket,
                           key |-> lease.entry.key, owner |-> lease.owner,
                           held |-> now - lease.checked_out ]
        told    == [shrunk EXCEPT
                       !.pool.in_use = (@ \ leaking)
                           \cup {[lease EXCEPT !.leaked = TRUE] : lease \in leaking},
                       !.io = @ \o Each(InKeyOrder(leaking), Leaked)]               \* TIC-3
    IN  Finishes(event, told)

\* transition.configure
Configure(choice) ==
    LET event == [name |-> "Configure", limits |-> choice]
    IN  IF pool.phase = "closed" THEN Ignores(event)                                \* CFG-1
        ELSE IF Choices[choice].opener # Limits(pool).opener THEN Ignores(event)    \* CFG-2
        ELSE Finishes(event,
                      Arrange(Outcome([pool EXCEPT !.limits = choice])))     \* CFG-3, CFG-4

\* transition.suspend
Suspend ==
    LET event == [name |-> "Suspend"]
    IN  IF pool.phase # "open" THEN Ignores(event)                                  \* SUS-1
        ELSE Finishes(event, Outcome([pool EXCEPT !.phase = "suspended"]))          \* SUS-2

\* transition.resume
Resume ==
    LET event == [name |-> "Resume"]
    IN  IF pool.phase # "suspended" THEN Ignores(event)                             \* RES-1
        ELSE Finishes(event, Outcome([pool EXCEPT !.phase = "open"]))               \* RES-2

\* transition.shutdown
Shutdown ==
    LET event  == [name |-> "Shutdown"]
        closed == Outcome([pool EXCEPT !.phase = "closed"])                         \* SHU-2
    IN  IF pool.phase = "closed" THEN Ignores(event)                                \* SHU-1
        ELSE Finishes(event,
                      CloseAllIdle(RefuseEverybody(closed, "closed"), "closed")) \* SHU-3, SHU-4

\* transition.forked
Forked ==
    LET alone == RefuseEverybody(Outcome(pool), "forked")                           \* FRK-1
        count == Len(pool.idle) + Cardinality(pool.in_use)
    IN  Finishes([name |-> "Forked"],
                 [alone EXCEPT !.pool.idle = <<>>, !.pool.in_use = {},
                               !.pool.opening_background = 0, !.pool.failures = 0,
                               !.pool.retry_at = None, !.pool.last_error = None,
                               !.pool.retire_before = 0,
                               !.pool.counters.forgotten = @ + count])              \* FRK-2

\* An adapter names each key at most once in `idle` and in `in_use`, and none that this event
\* gives: it cannot know those.
\* transition.adopt
Adopt(idle, in_use, removed, next_seq) ==
    LET event == [ name |-> "Adopt", idle |-> idle, in_use |-> in_use,
                   removed |-> removed, next_seq |-> next_seq ]
        \* ADO-2
        Gone(key) == key \in Range(removed)
        stays   == {item \in Range(pool.idle) : ~Gone(item.entry.key)}
        leases  == {lease \in pool.in_use : ~Gone(lease.entry.key)}
        missing == Len(pool.idle) + Cardinality(pool.in_use)
                       - Cardinality(stays) - Cardinality(leases)
        \* ADO-3
        start   == Greatest({pool.next_seq, next_seq} \cup {put.seq + 1 : put \in Range(idle)})
        Known(put, known) == \E item \in known : item.entry.key = put.key
        NewOf(seq, known) == {i \in DOMAIN seq : ~Known(seq[i], known)}
        newIdle == NewOf(idle, stays)
        \* the n-th new connection gets the n-th key
        Key(from, new, i) == from + Cardinality({j \in new : j < i})
        Fresh(key, put) == [ key |-> key, connection |-> put.connection,
                             created |-> put.created, jitter |-> 0 ]
        Changed(entry, put) == [entry EXCEPT !.connection = put.connection,
                                             !.created = put.created]
        Put(known, seq) == {i \in DOMAIN seq : seq[i].key = known.entry.key}
        rest    == {IF Put(item, idle) = {} THEN item
                    ELSE LET put == idle[Greatest(Put(item, idle))]
                         IN  [item EXCEPT !.entry = Changed(@, put), !.seq = put.seq]
                    : item \in stays}
                   \cup {[ entry |-> Fresh(Key(start, newIdle, i), idle[i]),
                           since |-> now, seq |-> idle[i].seq ] : i \in newIdle}
        \* ADO-4
        then    == start + Cardinality(newIdle)
        newUse  == NewOf(in_use, leases)
        used    == {IF Put(lease, in_use) = {} THEN lease
                    ELSE LET put == in_use[Greatest(Put(lease, in_use))]
                         IN  [lease EXCEPT !.entry = Changed(@, put),
                                           !.checked_out = put.checked_out]
                    : lease \in leases}
                   \cup {[ entry |-> Fresh(Key(then, newUse, i), in_use[i]),
                           checked_out |-> in_use[i].checked_out, ticket |-> 0,
                           owner |-> None, leaked |-> FALSE ] : i \in newUse}
        believed == [pool EXCEPT
                        !.idle = InLendOrder(Limits(pool), rest), !.in_use = used,
                        !.next_seq = then + Cardinality(newUse),
                        !.counters.adopted = @ + Cardinality(newIdle) + Cardinality(newUse),
                        !.counters.forgotten = @ + missing]
    IN  IF pool.phase = "closed" THEN Ignores(event)                                \* ADO-1
        ELSE Finishes(event, Arrange(Outcome(believed)))                            \* ADO-5

-----------------------------------------------------------------------------
(* The beginning, and the passing of time, which is no event. *)

Quiet == [event |-> [name |-> "None"], effects |-> <<>>, left |-> Left(Empty)]

Init ==
    /\ now = Clock(Start)
    /\ pool = Shape(Empty, Start)
    /\ last = Quiet

Pass ==
    /\ pool' = Shape(pool, now + 1)
    /\ now' = Clock(now + 1)
    /\ last' = [event |-> [name |-> "Pass"], effects |-> <<>>, left |-> Left(pool)]

-----------------------------------------------------------------------------
(* Invariants, section 8. *)

Keys(p) == {item.entry.key : item \in Range(p.idle)}
             \cup {lease.entry.key : lease \in p.in_use}

\* Room as section 8 has it: without what is being opened.
Room(p) == Greatest({0, Limits(p).max_size - Len(p.idle) - Cardinality(p.in_use)})

MostOpening(p, wanted) ==
    LET limits == Limits(p)
        always == IF limits.max_connecting = None THEN {} ELSE {limits.max_connecting}
        binds  == limits.max_opening # None /\ (p.idle # <<>> \/ p.in_use # {})
    IN  Smallest({wanted} \cup (IF limits.max_size = None THEN {} ELSE {Room(p)})
                          \cup always
                          \cup (IF binds THEN {limits.max_opening} ELSE {}))

Exclusive == Cardinality(Keys(pool)) = Len(pool.idle) + Cardinality(pool.in_use)

Shrunk ==
    Limits(pool).max_size # None /\ Size(pool) > Limits(pool).max_size => pool.idle = <<>>

Served == pool.phase = "open" /\ pool.waiters # {} => pool.idle = <<>>

Covered ==
    LET short == Greatest({0, Limits(pool).min_idle - Len(pool.idle)})
        many  == 1000  \* more than any limit
    IN  pool.phase = "open" =>
            IF Limits(pool).opener = "caller"
            THEN pool.waiters # {} => Opening(pool) >= MostOpening(pool, many)
            ELSE pool.retry_at = None =>
                    Opening(pool) >= MostOpening(pool, Cardinality(pool.waiters) + short)

Conserved ==
    LET count == pool.counters
    IN  /\ count.opened + count.adopted =
               count.closed + count.forgotten + Len(pool.idle) + Cardinality(pool.in_use)
        /\ pool.issued = pool.granted - count.dead + count.refused + count.cancelled
                             + Cardinality(pool.waiters) + Cardinality(pool.opening_tickets)

Fifo ==  \* a set of waiters is in ticket order by itself, if no two have the same ticket
    LET callers == pool.waiters \cup pool.opening_tickets
    IN  /\ \A a, b \in callers : a.ticket = b.ticket => a = b
        /\ pool.waiters \cap pool.opening_tickets = {}
        /\ \A a \in callers : a.ticket < pool.next_ticket

HeapOrdered == pool.idle = InLendOrder(Limits(pool), Range(pool.idle))

Shut ==
    pool.phase = "closed" =>
        pool.idle = <<>> /\ pool.waiters = {} /\ pool.opening_tickets = {}

(* Of every step. *)

Bounded ==
    [][ LET limits == Limits(pool')
        IN  /\ \/ last'.event.name = "Adopt"
               \/ limits.max_size = None
               \/ Size(pool') <= Greatest({limits.max_size, Size(pool)})
            /\ \/ limits.max_connecting = None
               \/ Opening(pool') <= Greatest({limits.max_connecting, Opening(pool)}) ]_vars

\* In the names that tickets had before the step, so that `Shape` does no harm.
FifoStep ==
    [][ \A i \in DOMAIN last'.effects :
            LET effect == last'.effects[i]
            IN  effect.effect \in {"Grant", "Open"} =>
                    \/ effect.ticket = None
                    \/ Connecting(pool, effect.ticket) # {}
                    \/ \A waiter \in last'.left.waiters : effect.ticket < waiter ]_vars

(* Of a whole run, as promises about each step: see pool/check/explore/properties.py.      *)
(* They count, because names may change between one state and the next.                    *)

Count(effects, kinds) == Cardinality({i \in DOMAIN effects : effects[i].effect \in kinds})

Pending(p) == Cardinality(p.waiters) + Cardinality(p.opening_tickets)
Owned(p) == Len(p.idle) + Cardinality(p.in_use)

Ignored == Count(last'.effects, {"Ignored"}) > 0

AnsweredOnce ==
    [][ LET event == last'.event
            asked == IF event.name \in {"Acquire", "Dead"} /\ ~Ignored THEN 1 ELSE 0
            gone  == IF event.name = "Cancel" /\ ~Ignored
                        /\ {l \in pool.in_use : l.ticket = event.ticket} = {} THEN 1 ELSE 0
        IN  Count(last'.effects, {"Grant", "Refuse"}) =
                Pending(pool) + asked - gone - Pending(pool') ]_vars

ClosedOnce ==
    [][ LET event == last'.event
            came  == IF event.name = "Opened" THEN 1 ELSE 0
            keys  == {last'.effects[i].key : i \in
                        {j \in DOMAIN last'.effects : last'.effects[j].effect = "Close"}}
        IN  \/ event.name = "Adopt"
            \/ event.name = "Forked" /\ keys = {}
            \/ /\ event.name # "Forked"
               /\ Cardinality(keys) = Owned(pool) + came - Owned(pool')
               /\ Cardinality(keys) = Count(last'.effects, {"Close"}) ]_vars

NothingAfterClose ==
    [][ \A i \in DOMAIN last'.effects :
            LET effect == last'.effects[i]
            IN  effect.effect = "Grant" =>
                    /\ effect.key \in Keys(pool) \/ effect.key >= pool.next_seq
                    /\ \A j \in DOMAIN last'.effects :
                          last'.effects[j].effect = "Close" => last'.effects[j].key # effect.key
      ]_vars

=============================================================================
