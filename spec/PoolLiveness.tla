---------------------------- MODULE PoolLiveness ----------------------------
(***************************************************************************)
(* What must come true in the end, if the world does its duty.             *)
(*                                                                         *)
(* Theory.  Tickets are renamed from state to state, so the one in         *)
(* question is known by its owner: the world watches one at a time         *)
(* (Owners = {None, "watched"}).  `Cancel` and `Expire` are not among the   *)
(* events, for with them every ticket is answered whatever the pool does.  *)
(*                                                                         *)
(* The duties: drivers answer and holders release, however often they are  *)
(* asked; time passes and `Tick` comes when it is useful; nobody leaves    *)
(* the pool suspended; in `background`, connects succeed again and again.  *)
(* A duty that is open again and again is done again and again, which is   *)
(* strong fairness.  pool/check/liveness.py checks the same of the Python  *)
(* function.                                                               *)
(***************************************************************************)
EXTENDS MCPool

Watched(callers) == {caller \in callers : caller.owner = "watched"}

\* Section 7: when a Tick is useful, of what these configurations have.
TickIsDue == pool.phase = "open" /\ pool.retry_at # None /\ pool.retry_at <= now

\* An action of the world is taken when there is nothing left to note.
Sent(A) == last = Quiet /\ A

Release1 ==
    \E lease \in pool.in_use :
        \/ Sends("Discard") /\ Discard(lease.ticket, lease.entry.key)
        \/ \E reusable \in Reusables : Release(lease.ticket, lease.entry.key, reusable)

AnswerOf(tickets) ==
    \E ticket \in tickets :
        \/ Opened(ticket, "c", now, 0)
        \/ \E error \in Errors : OpenFailed(ticket, error, 0)

Connectors == {w.ticket : w \in pool.opening_tickets}
              \cup (IF pool.opening_background > 0 THEN {None} ELSE {})

Fairness ==
    /\ WF_vars(last # Quiet /\ Note)
    /\ SF_vars(Sent(Release1))
    /\ SF_vars(Sent(AnswerOf(Connectors)))
    /\ SF_vars(Sent(AnswerOf({w.ticket : w \in Watched(pool.opening_tickets)})))
    /\ SF_vars(Sent(pool.opening_background > 0 /\ Opened(None, "c", now, 0)))
    /\ SF_vars(Sent(Ticking /\ TickIsDue /\ Tick))
    /\ WF_vars(Sent(Ticking /\ Pass))
    /\ SF_vars(Sent(pool.phase = "suspended" /\ Resume))

FairSpec == Spec /\ Fairness

-----------------------------------------------------------------------------

IsPending == Watched(pool.waiters \cup pool.opening_tickets) # {}

\* Every ticket is answered.
Live == IsPending ~> ~IsPending

\* After a shutdown everything is answered and closed.
Drained == (pool.phase = "closed") ~>
               (pool.in_use = {} /\ pool.idle = <<>> /\ Opening(pool) = 0)

=============================================================================
