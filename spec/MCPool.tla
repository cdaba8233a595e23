------------------------------- MODULE MCPool -------------------------------
(***************************************************************************)
(* A small world around the pool, for TLC.                                 *)
(*                                                                         *)
(* Theory.  `Next` says what the world may send: what a well-behaved       *)
(* runtime could send in this state and, for the events in Strangers, also *)
(* what none would, with tickets and keys that are old, unknown or         *)
(* somebody else's.  `MCShape` keeps of a pool what matters, so that there *)
(* are finitely many: names are numbers from 1 in their order, times are   *)
(* ages, and ages that nothing can tell apart are one.  The explorer of    *)
(* the Python function does both for itself (moves.py and canonical.py in  *)
(* pool/check/explore/); that the two graphs are the same is what is       *)
(* checked.                                                                *)
(*                                                                         *)
(* The constants are the bounds of a configuration of                      *)
(* pool/check/explore/configurations.py.                                   *)
(***************************************************************************)
EXTENDS Pool

CONSTANTS
    Callers,    \* most tickets that live at one time
    Events,     \* the names of what can happen
    Strangers,  \* those that also come with names that are not right
    Waits, Reusables, Owners, Errors, Lags, Jitters, Befores,  \* arguments
    Ticking,    \* whether time passes
    Adopts,     \* an adapter puts in connections while there are fewer than this
    \* What can be told apart, and from which age on it cannot:
    KeepsCreated, OldCreated, OldSince, OldCheckedOut, ManyFailures,
    Horizon     \* what the clock always shows: above every age

-----------------------------------------------------------------------------
(* The shape of a pool. *)

MCClock(time) == Horizon

LiveTickets(p) ==
    {w.ticket : w \in p.waiters \cup p.opening_tickets}
    \cup ({lease.ticket : lease \in p.in_use} \ {0})

Rank(S, x) == Cardinality({y \in S : y <= x})

MCShape(p, time) ==
    LET tickets == LiveTickets(p)
        keys    == Keys(p)
        seqs    == {item.seq : item \in Range(p.idle)}
        Age(at, old) == Horizon - Smallest({old, time - at})
        \* Ages of connections: exact while young, then only their order.
        all     == {item.entry : item \in Range(p.idle)} \cup {l.entry : l \in p.in_use}
        ages    == {time - entry.created : entry \in all}
        retired == time - p.retire_before
        matters == KeepsCreated /\ (\/ \E lag \in Lags : retired <= lag
                                    \/ \E age \in ages : age > retired)
        old     == {age \in ages \cup (IF matters THEN {retired} ELSE {}) : age >= OldCreated}
        Born(age) == IF ~KeepsCreated THEN Horizon
                     ELSE IF age < OldCreated THEN Horizon - age
                     ELSE Horizon - OldCreated - Cardinality({a \in old : a < age})
        aging    == KeepsCreated /\ \E i \in DOMAIN Choices : Choices[i].max_lifetime # None
        Entry(e) == [e EXCEPT !.key = Rank(keys, @), !.created = Born(time - @),
                              !.jitter = IF aging THEN @ ELSE 0]
        Item(i)  == [ entry |-> Entry(i.entry), since |-> Age(i.since, OldSince),
                      seq |-> Rank(seqs, i.seq) ]
        Ticket(t) == IF t = 0 THEN 0 ELSE Rank(tickets, t)
        Lease(l) == [l EXCEPT !.entry = Entry(@), !.ticket = Ticket(@),
                              !.checked_out = Age(@, OldCheckedOut)]
        Caller(w) == [w EXCEPT !.ticket = Ticket(@)]
        \* Counters: whether anything was ever opened, and what does not add up.
        c     == p.counters
        ever  == Smallest({1, c.opened})
    IN  [ p EXCEPT
            !.idle = Each(@, Item),
            !.in_use = {Lease(l) : l \in @},
            !.waiters = {Caller(w) : w \in @},
            !.opening_tickets = {Caller(w) : w \in @},
            !.failures = Smallest({@, ManyFailures}),
            !.retry_at = IF @ = None THEN None ELSE Horizon + Greatest({0, @ - time}),
            !.retire_before = IF matters THEN Born(retired) ELSE 0,
            !.next_seq = Cardinality(keys) + 1,
            !.next_ticket = Cardinality(tickets) + 1,
            !.issued = 0,
            !.granted = @ - p.issued - c.dead + c.refused + c.cancelled,
            !.counters = [ opened |-> ever, adopted |-> 0,
                           closed |-> c.closed + c.forgotten - c.adopted - c.opened + ever,
                           forgotten |-> 0, refused |-> 0, cancelled |-> 0, dead |-> 0 ] ]

-----------------------------------------------------------------------------
(* What the world may send. *)

Sends(name) == name \in Events
Strange(name) == name \in Events /\ name \in Strangers

TicketsHere == {0} \cup LiveTickets(pool)
KeysHere == {0} \cup Keys(pool)
Holds(ticket, key) == Held(pool, ticket, key) # {}

AcquireNext ==
    \/ /\ Sends("Acquire")
       /\ Cardinality(LiveTickets(pool)) < Callers
       /\ \E wait \in Waits, owner \in Owners :
            /\ \/ owner = None  \* one at a time is watched
               \/ \A caller \in pool.waiters \cup pool.opening_tickets \cup pool.in_use :
                     caller.owner = None
            /\ Acquire(pool.next_ticket, wait, owner)
    \/ Strange("Acquire") /\ Acquire(pool.next_ticket - 1, TRUE, None)

OpenedNext ==
    \/ /\ Sends("Opened")
       /\ \E lag \in Lags, jitter \in Jitters, ticket \in
              {w.ticket : w \in pool.opening_tickets}
              \cup (IF pool.opening_background > 0 \/ Strange("Opened") THEN {None} ELSE {})
              \cup (IF Strange("Opened") THEN TicketsHere ELSE {}) :
            Opened(ticket, "c", now - lag, jitter)

OpenFailedNext ==
    /\ Sends("OpenFailed")
    /\ \E error \in Errors,
          jitter \in (IF Limits(pool).opener = "background" THEN Jitters ELSE {0}),
          ticket \in {w.ticket : w \in pool.opening_tickets}
              \cup (IF pool.opening_background > 0 \/ Strange("OpenFailed")
                    THEN {None} ELSE {})
              \cup (IF Strange("OpenFailed") THEN TicketsHere ELSE {}) :
          OpenFailed(ticket, error, jitter)

HolderNext ==
    \E ticket \in TicketsHere, key \in KeysHere :
        \/ /\ Sends("Release") /\ Holds(ticket, key)
           /\ \E reusable \in Reusables : Release(ticket, key, reusable)
        \/ Strange("Release") /\ ~Holds(ticket, key) /\ Release(ticket, key, TRUE)
        \/ Sends("Discard") /\ Holds(ticket, key) /\ Discard(ticket, key)
        \/ Strange("Discard") /\ ~Holds(ticket, key) /\ Discard(ticket, key)
        \/ /\ Sends("Dead") /\ Holds(ticket, key) /\ ticket # 0
           /\ \E wait \in Waits : Dead(ticket, key, wait)
        \/ /\ Strange("Dead") /\ (~Holds(ticket, key) \/ ticket = 0)
           /\ Dead(ticket, key, TRUE)

GivesUpNext ==
    \/ Sends("Expire") /\ \E w \in pool.waiters : Expire(w.ticket)
    \/ Strange("Expire") /\ \E t \in TicketsHere : Waiting(pool, t) = {} /\ Expire(t)
    \/ Sends("Cancel") /\ \E t \in LiveTickets(pool) : Cancel(t)
    \/ Strange("Cancel") /\ \E t \in {0, pool.next_ticket} : Cancel(t)

\* One thing put in, changed or removed; and everything at once.
AdoptNext ==
    LET seqs  == {item.seq : item \in Range(pool.idle)}
        small == Owned(pool) < Adopts
        fresh == pool.next_seq
        AnIdle(key, created, seq) ==
            [key |-> key, connection |-> "a", created |-> created, seq |-> seq]
        ALease(key, at, checked_out) ==
            [key |-> key, connection |-> "a", created |-> at, checked_out |-> checked_out]
        everything == Sorted(Keys(pool), LAMBDA a, b : a < b)
    IN  /\ Sends("Adopt")
        /\ \/ /\ small
              /\ \E lag \in Lags :
                   \/ \E seq \in {0, fresh} :
                        Adopt(<<AnIdle(None, now - lag, seq)>>, <<>>, <<>>, 0)
                   \/ Adopt(<<>>, <<ALease(None, now, now - lag)>>, <<>>, 0)
           \/ /\ small /\ Strange("Adopt")
              /\ Adopt(<<AnIdle(0, now, 0)>>, <<>>, <<>>, 0)
           \/ Adopt(<<AnIdle(None, now, 0)>>, <<ALease(None, now, now)>>, everything, fresh + 1)
           \/ \E item \in Range(pool.idle), lag \in Lags :
                Adopt(<<AnIdle(item.entry.key, now - lag, 0)>>, <<>>, <<>>, 0)
           \/ \E lease \in pool.in_use, lag \in Lags :
                Adopt(<<>>, <<ALease(lease.entry.key, now, now - lag)>>, <<>>, 0)
           \/ \E key \in Keys(pool) : Adopt(<<>>, <<>>, <<key>>, 0)
           \/ Strange("Adopt") /\ Adopt(<<>>, <<>>, <<0>>, 0)

PlainNext ==
    \/ Sends("CloseIdle") /\ CloseIdle
    \/ Sends("CloseStale") /\ \E ago \in Befores : CloseStale(now - ago)
    \/ Sends("CloseAll") /\ CloseAll
    \/ Sends("Retire") /\ Retire
    \/ Sends("Tick") /\ Tick
    \/ Sends("Configure") /\ \E choice \in DOMAIN Choices : Configure(choice)
    \/ Sends("Suspend") /\ Suspend
    \/ Sends("Resume") /\ Resume
    \/ Sends("Shutdown") /\ Shutdown
    \/ Sends("Forked") /\ Forked
    \/ Ticking /\ Pass

WorldNext ==
    \/ AcquireNext
    \/ OpenedNext
    \/ OpenFailedNext
    \/ HolderNext
    \/ GivesUpNext
    \/ AdoptNext
    \/ PlainNext

\* Between two events the last one is taken note of and forgotten.  What can happen next does
\* not depend on it, so this saves looking at every state once for each way to reach it.
Note == last' = Quiet /\ UNCHANGED <<pool, now>>

Next == IF last = Quiet THEN WorldNext ELSE Note

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* Limits for MCPool.cfg and MCPoolDeep.cfg, which are `base-caller` and     *)
(* `deep-background` of pool/check/explore/configurations.py.                *)
(* `purepool check` writes the bounds of its configurations into a module of *)
(* their own.                                                                *)

AnyLimits ==
    [ max_size |-> 3, min_idle |-> 0, max_lifetime |-> None, max_idle |-> None,
      max_waiting |-> None, max_opening |-> None, max_connecting |-> None,
      leak_after |-> None, idle_order |-> "lifo", opener |-> "caller",
      backoff_initial |-> 1, backoff_max |-> 2 ]

BaseChoices == <<AnyLimits>>

DeepChoices ==
    <<[AnyLimits EXCEPT !.max_size = 5, !.min_idle = 1, !.max_opening = 3,
                        !.opener = "background"]>>

LiveChoices == <<[AnyLimits EXCEPT !.max_size = 2]>>

=============================================================================
