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
(* pool/check/explore/liveness.py checks the same of the Python function.  *)
(***************************************************************************)
EXTENDS MCPool

Watched(callers) == {caller \in callers : caller.owner = "watched"}

\* What can be done again and again is done again and again: written out, for TLC's own
\* SF_vars would try every action in every state to see whether it can be done.
Did(names) == last'.event.name \in names

Releases == Did({"Release", "Discard"})
Resumes  == Did({"Resume"})
Answers  == Did({"Opened", "OpenFailed"})
Succeeds == Did({"Opened"})
Ticks    == Did({"Tick"})
Passes   == Did({"Pass"})

Mine == Watched(pool.opening_tickets)
AnswersMine == Answers /\ last'.event.ticket \in {w.ticket : w \in Mine}

\* Section 7: when a Tick is useful, of what these configurations have.
TickIsDue == pool.phase = "open" /\ pool.retry_at # None /\ pool.retry_at <= now
TimeIsShort == pool.retry_at # None /\ pool.retry_at > now

Fairness ==
    /\ WF_vars(last # Quiet /\ Note)
    /\ []<>(pool.in_use # {}) => []<><<Releases>>_vars
    /\ []<>(pool.phase = "suspended") => []<><<Resumes>>_vars

CallerFairness ==
    /\ []<>(pool.opening_tickets # {}) => []<><<Answers>>_vars
    /\ []<>(Mine # {}) => []<><<AnswersMine>>_vars

BackgroundFairness ==
    /\ []<>(pool.opening_background > 0) => []<><<Succeeds>>_vars
    /\ []<>TickIsDue => []<><<Ticks>>_vars
    /\ []<>TimeIsShort => []<><<Passes>>_vars

FairCallerSpec == Spec /\ Fairness /\ CallerFairness
FairBackgroundSpec == Spec /\ Fairness /\ BackgroundFairness

-----------------------------------------------------------------------------

IsPending == Watched(pool.waiters \cup pool.opening_tickets) # {}

\* Every ticket is answered.
Live == IsPending ~> ~IsPending

\* After a shutdown everything is answered and closed.
Drained == (pool.phase = "closed") ~>
               (pool.in_use = {} /\ pool.idle = <<>> /\ Opening(pool) = 0)

=============================================================================
