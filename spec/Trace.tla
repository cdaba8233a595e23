-------------------------------- MODULE Trace -------------------------------
(***************************************************************************)
(* Is what a running pool did a behaviour of the pool?                     *)
(*                                                                         *)
(* Theory.  A recording is a state and then events, each with the effects  *)
(* that it had.  Here the world sends just these events, at their times.   *)
(* The pool does what Pool.tla says; that its effects are the recorded     *)
(* ones is looked at after each, and that it ends in the recorded state.   *)
(* If not, the place is printed, with what the pool does instead.          *)
(*                                                                         *)
(* `purepool check --trace` writes a recording as the constants of this    *)
(* module (pool/check/recordings/trace.py), in parts: each begins in the   *)
(* state in which the one before it ends.  It knows the times as whole     *)
(* numbers in their order, so what depends on a part of a time, which a    *)
(* random number takes away, is given as a time too: a jitter is the       *)
(* place of a row in `Denied`, or, of a failed connect, what the pause     *)
(* lacks.                                                                  *)
(***************************************************************************)
EXTENDS Pool, TLC

CONSTANTS
    Begin,        \* the state before the first event
    End,          \* the state after the last one
    Recorded,     \* a sequence: what came, with the effects that it had
    Denied,       \* of a jitter and of limits: how much of max_lifetime is taken away
    ManyFailures  \* from so many on, the pause grows no more

VARIABLE at  \* the place of the next event; 0: nothing is left to be seen

TraceAged(p, entry, time) ==
    LET denied == IF entry.jitter = 0 THEN 0 ELSE Denied[entry.jitter][p.limits]
    IN  time - entry.created >= Limits(p).max_lifetime - denied

TraceShortened(pause, jitter) == pause - jitter

\* The same sequence, found faster: pools that ran are larger than those that are explored.
RECURSIVE Listed(_)
Listed(S) == IF S = {} THEN <<>>
             ELSE LET x == CHOOSE x \in S : TRUE IN <<x>> \o Listed(S \ {x})
TraceSorted(S, Before(_, _)) == SortSeq(Listed(S), Before)

TraceClock(time) == time

TraceShape(p, time) == [p EXCEPT !.failures = Smallest({@, ManyFailures})]

\* TLC would make the sequence anew each time that it is asked for: so it keeps it, if it
\* has one worker, in a register.
Kept == TLCGet(1)

-----------------------------------------------------------------------------
TraceInit ==
    /\ TLCSet(1, Recorded)
    /\ pool = Begin
    /\ now = IF Recorded = <<>> THEN 0 ELSE Recorded[1].now
    /\ last = Quiet
    /\ at = 1

Waits ==
    /\ now' = Kept[at].now
    /\ last' = Quiet
    /\ UNCHANGED <<pool, at>>

Comes(e) ==
    CASE e.name = "Acquire"    -> Acquire(e.ticket, e.wait, e.owner)
      [] e.name = "Opened"     -> Opened(e.ticket, "c", e.created, e.jitter)
      [] e.name = "OpenFailed" -> OpenFailed(e.ticket, e.error, e.jitter)
      [] e.name = "Dead"       -> Dead(e.ticket, e.key, e.wait)
      [] e.name = "Release"    -> Release(e.ticket, e.key, e.reusable)
      [] e.name = "Discard"    -> Discard(e.ticket, e.key)
      [] e.name = "Expire"     -> Expire(e.ticket)
      [] e.name = "Cancel"     -> Cancel(e.ticket)
      [] e.name = "CloseIdle"  -> CloseIdle
      [] e.name = "CloseStale" -> CloseStale(e.before)
      [] e.name = "CloseAll"   -> CloseAll
      [] e.name = "Retire"     -> Retire
      [] e.name = "Tick"       -> Tick
      [] e.name = "Configure"  -> Configure(e.limits)
      [] e.name = "Suspend"    -> Suspend
      [] e.name = "Resume"     -> Resume
      [] e.name = "Shutdown"   -> Shutdown
      [] e.name = "Forked"     -> Forked
      [] e.name = "Adopt"      -> Adopt(e.idle, e.in_use, e.removed, e.next_seq)

Happens ==
    /\ Comes(Kept[at])
    /\ IF last'.effects = Kept[at].effects THEN at' = at + 1
       ELSE at' = 0 /\ PrintT(<<"otherwise", at, last'.effects>>)

Differing == {field \in DOMAIN pool : pool[field] # End[field]}

Ends ==
    /\ at' = 0
    /\ UNCHANGED vars
    /\ PrintT(IF Differing = {} THEN <<"accepted", Len(Kept)>>
              ELSE <<"ends otherwise", Differing>>)

TraceNext ==
    /\ at > 0
    /\ IF at > Len(Kept) THEN Ends
       ELSE IF now # Kept[at].now THEN Waits
       ELSE Happens

=============================================================================
