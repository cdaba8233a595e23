------------------------------ MODULE Runtime ------------------------------
(***************************************************************************)
(* How threads share a pool: the protocol of pool/threads and pool/shared. *)
(*                                                                         *)
(* Theory.  What is decided is Pool.tla's, whose actions are used here as  *)
(* they are; so every step is a step of that machine, or none of its       *)
(* variables changes (RefinesPool).  What is shown here is that nothing is *)
(* lost on the way from the decision to those it is about, whoever is      *)
(* interrupted wherever.                                                   *)
(*                                                                         *)
(* A thread takes one step at a time: one reading or writing of what the   *)
(* threads share.  Between any two of its steps an asynchronous exception  *)
(* may strike it; then it unwinds as the code does.  It may also fork, and *)
(* only it goes on in the child.                                           *)
(*                                                                         *)
(* The monitor is a lock; the pair of the pool and the effects that were   *)
(* decided and not yet handed out (`pool` and `owed`), which one           *)
(* assignment changes; the cells at which callers wait; the inbox, where   *)
(* lost claims are noted by who must not wait; the jobs, which are closes  *)
(* and connects to be done; and `orphans`: some job's owner was            *)
(* interrupted.                                                            *)
(*                                                                         *)
(* What is left out: times (one instant; a deadline may pass at any        *)
(* time), jitter, leaks, resets, a second thread for a check, and signal   *)
(* handlers that call the pool; what they may do inside the lock is to     *)
(* note something in the inbox, which `Lose` does while another has it.    *)
(* A connection that nobody refers to any more is closed by its driver.    *)
(***************************************************************************)
EXTENDS Pool

CONSTANTS
    Threads,
    Program(_),   \* what a thread does, in order: borrow and "release", "discard" or "drop", or
                  \* "any" of these; "close_all", "shutdown", "help"
    Hurried,      \* threads whose deadline may pass while they wait
    Idle,         \* so many connections are idle at the beginning
    Failures,     \* whether connects may fail
    Checks,       \* whether what has rested is asked whether it is alive
    Strikes,      \* so many asynchronous exceptions may come, at any time
    Forks         \* whether a thread may fork, at any time

VARIABLES
    lock,      \* the thread that holds it, or None
    owed,      \* effects of the last transition that may not have been handed out yet
    cells,     \* tickets whose callers' cells are known
    inbox,     \* claims that are lost: a sequence of <<ticket, key>>
    jobs,      \* Io to be done by whoever takes it off
    orphans,   \* there may be jobs whose owner was interrupted
    closing,   \* <<thread, key>>: closes under way
    onlookers, \* threads that wait for the pool as a whole
    notified,      \* those that were told to look again
    thr,       \* where each thread is, and what it has in its hands
    strikes,   \* exceptions that may still come
    child,     \* the thread that goes on in a child process, or None
    made,      \* connections that were made: 1..made
    finished,    \* those that were closed
    twice,     \* those that were closed twice
    dropped,   \* those that nobody refers to any more
    dirty,     \* those whose holder was interrupted in the middle of something
    parents    \* those of the parent process

monitor == <<lock, owed, cells, inbox, jobs, orphans, closing, onlookers, notified>>
driver  == <<made, finished, twice, dropped, dirty, parents>>
all     == <<pool, now, last, monitor, thr, strikes, child, driver>>

\* What can be told apart: `last` is only a report of the last step.
View == <<pool, monitor, thr, strikes, child, driver>>

Pools == <<pool, now, last>>

-----------------------------------------------------------------------------
(* Of the pool, as much as matters here: counts are Pool.tla's own concern. *)

Kept(p, time) ==
    [p EXCEPT !.issued = 0, !.granted = 0, !.last_error = None,
              !.counters = [ opened |-> Smallest({1, @.opened}), adopted |-> 0, closed |-> 0,
                             forgotten |-> 0, refused |-> 0, cancelled |-> 0, dead |-> 0 ]]

Still(time) == time

-----------------------------------------------------------------------------
(* A thread. *)

Fresh ==
    [ pc     |-> "",
      left   |-> <<>>,        \* of its program
      event  |-> "",          \* what it is about to apply
      next   |-> "",          \* where it goes when that is done
      cont   |-> "",          \* where it goes when all is handed out
      back   |-> "",          \* where it goes when it has left the lock
      then   |-> "",          \* where it goes when the inbox was looked at
      at     |-> 1,           \* the effect to be handed out next
      todo   |-> <<>>,        \* its own jobs
      ticket |-> 0, key |-> 0, conn |-> 0,     \* its handle
      made   |-> 0,           \* a connection it made, and nobody knows yet
      answer |-> None, awake |-> FALSE,        \* its cell
      unwinds |-> FALSE, ended |-> FALSE,      \* an exception came; its claim is noted
      stale  |-> FALSE ]      \* it goes on, in a child, with the parent's monitor

Pc(t) == thr[t].pc
IsHelper(t) == thr[t].left # <<>> /\ Head(thr[t].left) = "help"
Set(t, changes(_)) == thr' = [thr EXCEPT ![t] = changes(@)]
Goes(t, pc) == thr' = [thr EXCEPT ![t].pc = pc]

Terminal == {"done", "gone", "absent"}

IsIo(effect) ==
    effect.effect = "Close" \/ (effect.effect = "Open" /\ effect.ticket = None)

\* An effect is an object: of two background connects each is itself.
Objects(effects) ==
    LET Number(i) == IF effects[i].effect = "Close" THEN 0
                     ELSE pool.opening_background + i
    IN  [i \in DOMAIN effects |-> [effect |-> effects[i], number |-> Number(i)]]

Decided == IF Ignored THEN <<>> ELSE Objects(last'.effects)

Background == Limits(pool).opener = "background"

\* What may be begun: not what is just being handed out, for who hands it out may do that again.
Ready == jobs \ Range(owed)

SeqOf(S) == Sorted(S, LAMBDA a, b : a.effect.key < b.effect.key)

-----------------------------------------------------------------------------
(* Coming and going. *)

\* A thread with this program before it, and nothing in its hands.
Starts(t, left) ==
    LET f == [Fresh EXCEPT !.left = left]
        Enters(event, next) == [f EXCEPT !.pc = "enter", !.event = event, !.next = next]
        does == Head(left)
    IN  IF left = <<>> THEN [f EXCEPT !.pc = "done"]
        ELSE CASE does = "close_all" -> Enters("CloseAll", "over")
               [] does = "shutdown"  -> Enters("Shutdown", "enlist")
               [] does = "help"      -> [f EXCEPT !.pc = "watch"]
               [] OTHER              -> Enters("Acquire", "follow")

Over(t) ==
    /\ Pc(t) = "over"
    /\ Set(t, LAMBDA f : Starts(t, Tail(f.left)))
    /\ UNCHANGED <<Pools, monitor, strikes, child, driver>>

\* The same again: what it was granted is closed, or was its parent's.
Restart(t) ==
    /\ Pc(t) = "restart"
    /\ Set(t, LAMBDA f : Starts(t, f.left))
    /\ UNCHANGED <<Pools, monitor, strikes, child, driver>>

-----------------------------------------------------------------------------
(* One transition: Monitor.apply, Store.change. *)

\* The lock is taken in one bytecode: an exception comes before, or inside the `try`.
Enter(t) ==
    /\ Pc(t) = "enter" /\ lock = None
    /\ lock' = t
    /\ Goes(t, "commit")
    /\ UNCHANGED <<Pools, owed, cells, inbox, jobs, orphans, closing, onlookers, notified,
                   strikes, child, driver>>

\* Something was decided, and not handed out by who decided it.
HandsOutFirst(t) ==
    /\ Pc(t) \in {"commit", "discard", "cancel"} /\ owed # <<>>
    /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "hand", !.at = 1, !.cont = f.pc])
    /\ UNCHANGED <<Pools, monitor, strikes, child, driver>>

Applies(t) ==
    LET f == thr[t]
    IN  \/ f.event = "Acquire"    /\ Acquire(pool.next_ticket, TRUE, None)
        \/ f.event = "Expire"     /\ Expire(f.ticket)
        \/ f.event = "Opened"     /\ Opened(f.ticket, f.made, now, 0)
        \/ f.event = "SomeOpened" /\ Opened(None, f.made, now, 0)
        \/ f.event = "OpenFailed" /\ OpenFailed(f.ticket, "down", 0)
        \/ f.event = "Dead"       /\ Dead(f.ticket, f.key, TRUE)
        \/ f.event = "Release"    /\ Release(f.ticket, f.key, TRUE)
        \/ f.event = "Discard"    /\ Discard(f.ticket, f.key)
        \/ f.event = "CloseAll"   /\ CloseAll
        \/ f.event = "Shutdown"   /\ Shutdown

Commit(t) ==
    /\ Pc(t) = "commit" /\ owed = <<>>
    /\ Applies(t)
    /\ owed' = Decided
    /\ LET f    == thr[t]
           ios  == SelectSeq(Decided, LAMBDA object : IsIo(object.effect))
           done == [f EXCEPT !.todo = ios, !.made = 0, !.at = 1, !.cont = "unlock",
                             !.back = "leave"]
       IN  thr' = [thr EXCEPT ![t] =
             CASE f.event = "Acquire" ->
                    [done EXCEPT !.pc = "expect", !.ticket = last'.event.ticket]
               [] f.event = "Dead" ->
                    [done EXCEPT !.pc = "expect", !.conn = 0,
                                 !.next = IF Ignored THEN "begin" ELSE "again"]
               [] OTHER -> [done EXCEPT !.pc = "hand"]]
    /\ UNCHANGED <<lock, cells, inbox, jobs, orphans, closing, onlookers, notified,
                   strikes, child, driver>>

\* The caller's cell can be found from now on.
Expect(t) ==
    /\ Pc(t) = "expect"
    /\ cells' = cells \cup {thr[t].ticket}
    /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "hand", !.answer = None, !.awake = FALSE])
    /\ UNCHANGED <<Pools, lock, owed, inbox, jobs, orphans, closing, onlookers, notified,
                   strikes, child, driver>>

\* Store.hand_out. Until it is done the effects are owed, so that it can be done again.
HandOut(t) ==
    /\ Pc(t) = "hand"
    /\ IF thr[t].at > Len(owed)
       THEN /\ owed' = <<>>
            /\ Goes(t, thr[t].cont)
            /\ UNCHANGED <<jobs>>
       ELSE LET object == owed[thr[t].at]
                known  == {u \in Threads : /\ thr[u].ticket = object.effect.ticket
                                           /\ object.effect.ticket \in cells}
            IN  /\ UNCHANGED owed
                /\ IF IsIo(object.effect)
                   THEN jobs' = jobs \cup {object} /\ Set(t, LAMBDA f : [f EXCEPT !.at = @ + 1])
                   ELSE /\ UNCHANGED jobs
                        /\ thr' = [u \in Threads |->
                             LET f == IF u \in known THEN [thr[u] EXCEPT !.answer = object.effect]
                                      ELSE thr[u]
                             IN  IF u = t THEN [f EXCEPT !.pc = "wake"] ELSE f]
    /\ UNCHANGED <<Pools, lock, cells, inbox, orphans, closing, onlookers, notified,
                   strikes, child, driver>>

\* Who connects still waits for an answer.
Wake(t) ==
    /\ Pc(t) = "wake"
    /\ LET effect == owed[thr[t].at].effect
       IN  /\ cells' = IF effect.effect = "Open" THEN cells ELSE cells \ {effect.ticket}
           /\ thr' = [u \in Threads |->
                LET f == IF thr[u].ticket = effect.ticket /\ effect.ticket \in cells
                         THEN [thr[u] EXCEPT !.awake = TRUE] ELSE thr[u]
                IN  IF u = t THEN [f EXCEPT !.pc = "hand", !.at = @ + 1] ELSE f]
    /\ UNCHANGED <<Pools, lock, owed, inbox, jobs, orphans, closing, onlookers, notified,
                   strikes, child, driver>>

Unlock(t) ==
    /\ Pc(t) = "unlock"
    /\ lock' = None
    /\ Set(t, LAMBDA f : [f EXCEPT !.pc = f.back, !.back = "", !.cont = "", !.at = 1,
                                   !.made = 0])
    /\ UNCHANGED <<Pools, owed, cells, inbox, jobs, orphans, closing, onlookers, notified,
                   strikes, child, driver>>

-----------------------------------------------------------------------------
(* After the lock: Performer._leave. *)

\* What it had in its hands for this transition is forgotten.
Leads(f, pc) == [f EXCEPT !.pc = pc, !.todo = <<>>, !.next = "", !.then = "", !.event = ""]

Gone == [Fresh EXCEPT !.pc = "gone"]

Leave(t) ==
    /\ Pc(t) = "leave"
    /\ Set(t, LAMBDA f :
           IF jobs = {} /\ inbox = <<>> /\ onlookers = {} THEN Leads(f, f.next)
           ELSE [f EXCEPT !.pc = "drain", !.then = "tell"])
    /\ UNCHANGED <<Pools, monitor, strikes, child, driver>>

\* Monitor.drain: if the lock is taken, who has it will look when it leaves.
Drain(t) ==
    /\ Pc(t) = "drain"
    /\ IF inbox = <<>> \/ lock # None
       THEN /\ Set(t, LAMBDA f : IF f.then = "gone" THEN Gone
                                  ELSE [f EXCEPT !.pc = f.then, !.then = ""])
            /\ UNCHANGED lock
       ELSE Goes(t, "take") /\ lock' = t
    /\ UNCHANGED <<Pools, owed, cells, inbox, jobs, orphans, closing, onlookers, notified,
                   strikes, child, driver>>

\* Store.take, for the first note: it is off the list only when all is done.
Take(t) ==
    /\ Pc(t) = "take"
    /\ IF inbox = <<>>
       THEN /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "unlock", !.back = "drain"])
            /\ UNCHANGED cells
       ELSE /\ cells' = cells \ {Head(inbox)[1]}
            /\ Goes(t, IF Head(inbox)[2] = 0 THEN "cancel" ELSE "discard")
    /\ UNCHANGED <<Pools, lock, owed, inbox, jobs, orphans, closing, onlookers, notified,
                   strikes, child, driver>>

DiscardNote(t) ==
    /\ Pc(t) = "discard" /\ owed = <<>>
    /\ Discard(Head(inbox)[1], Head(inbox)[2])
    /\ owed' = Decided
    /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "hand", !.at = 1, !.cont = "cancel"])
    /\ UNCHANGED <<lock, cells, inbox, jobs, orphans, closing, onlookers, notified,
                   strikes, child, driver>>

CancelNote(t) ==
    /\ Pc(t) = "cancel" /\ owed = <<>>
    /\ Cancel(Head(inbox)[1])
    /\ owed' = Decided
    /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "hand", !.at = 1, !.cont = "own_up"])
    /\ UNCHANGED <<lock, cells, inbox, jobs, orphans, closing, onlookers, notified,
                   strikes, child, driver>>

\* While it is on the list: who is interrupted takes it again.
OwnUp(t) ==
    /\ Pc(t) = "own_up"
    /\ orphans' = TRUE
    /\ notified' = notified \cup onlookers
    /\ Goes(t, "strike_off")
    /\ UNCHANGED <<Pools, lock, owed, cells, inbox, jobs, closing, onlookers,
                   strikes, child, driver>>

StrikeOff(t) ==
    /\ Pc(t) = "strike_off"
    /\ inbox' = Tail(inbox)
    /\ Goes(t, "take")
    /\ UNCHANGED <<Pools, lock, owed, cells, jobs, orphans, closing, onlookers, notified,
                   strikes, child, driver>>

\* Whoever waits for the pool as a whole looks again.
Tell(t) ==
    /\ Pc(t) = "tell"
    /\ notified' = notified \cup onlookers
    /\ Set(t, LAMBDA f : IF Background THEN Leads(f, f.next) ELSE [f EXCEPT !.pc = "perform"])
    /\ UNCHANGED <<Pools, lock, owed, cells, inbox, jobs, orphans, closing, onlookers,
                   strikes, child, driver>>

\* One's own jobs, then those of who was interrupted.
Perform(t) ==
    /\ Pc(t) = "perform"
    /\ IF thr[t].todo # <<>>
       THEN Goes(t, "mark") /\ UNCHANGED orphans
       ELSE IF orphans
       THEN orphans' = FALSE /\ Set(t, LAMBDA f : [f EXCEPT !.todo = SeqOf(Ready)])
       ELSE Set(t, LAMBDA f : Leads(f, f.next)) /\ UNCHANGED orphans
    /\ UNCHANGED <<Pools, lock, owed, cells, inbox, jobs, closing, onlookers, notified,
                   strikes, child, driver>>

\* First: it is always on one of the two lists.
Mark(t) ==
    /\ Pc(t) = "mark"
    /\ closing' = closing \cup {<<t, Head(thr[t].todo).effect.key>>}
    /\ Goes(t, "claim")
    /\ UNCHANGED <<Pools, lock, owed, cells, inbox, jobs, orphans, onlookers, notified,
                   strikes, child, driver>>

Claim(t) ==
    /\ Pc(t) = "claim"
    /\ LET job == Head(thr[t].todo)
       IN  IF job \in Ready
           THEN jobs' = jobs \ {job} /\ Goes(t, "close")
           ELSE UNCHANGED jobs /\ Goes(t, "closed")
    /\ UNCHANGED <<Pools, lock, owed, cells, inbox, orphans, closing, onlookers, notified,
                   strikes, child, driver>>

\* The driver's close. In a child it is asked right before whether the connection is its own.
Close(t) ==
    /\ Pc(t) = "close"
    /\ IF thr[t].stale THEN UNCHANGED <<finished, twice>>
       ELSE LET c == Head(thr[t].todo).effect.connection
            IN  finished' = finished \cup {c} /\ twice' = twice \cup ({c} \cap finished)
    /\ Goes(t, "closed")
    /\ UNCHANGED <<Pools, monitor, strikes, child, made, dropped, dirty, parents>>

Closed(t) ==
    /\ Pc(t) = "closed"
    /\ closing' = {mark \in closing : mark[1] # t}
    /\ Goes(t, "closing_told")
    /\ UNCHANGED <<Pools, lock, owed, cells, inbox, jobs, orphans, onlookers, notified,
                   strikes, child, driver>>

ClosingTold(t) ==
    /\ Pc(t) = "closing_told"
    /\ notified' = notified \cup onlookers
    /\ Set(t, LAMBDA f : [f EXCEPT !.todo = Tail(@),
                                   !.pc = IF IsHelper(t) THEN "watch" ELSE "perform"])
    /\ UNCHANGED <<Pools, lock, owed, cells, inbox, jobs, orphans, closing, onlookers,
                   strikes, child, driver>>

-----------------------------------------------------------------------------
(* What a caller does: Runtime.acquire and _follow, Runtime.release. *)

Follow(t) ==
    /\ Pc(t) = "follow"
    /\ LET f == thr[t]
           is == IF f.answer = None THEN "None" ELSE f.answer.effect
       IN  thr' = [thr EXCEPT ![t] =
             CASE is = "None"   -> [f EXCEPT !.pc = "park"]
               [] is = "Open"   -> [f EXCEPT !.pc = "connect"]
               [] is = "Refuse" -> [f EXCEPT !.pc = "over", !.ticket = 0, !.answer = None]
               [] is = "Grant"  -> [f EXCEPT !.pc = IF Checks /\ f.answer.rested # None
                                                    THEN "check" ELSE "hold",
                                             !.key = f.answer.key,
                                             !.conn = f.answer.connection,
                                             !.answer = None, !.awake = FALSE]]
    /\ UNCHANGED <<Pools, monitor, strikes, child, driver>>

Woken(t) ==
    /\ Pc(t) = "park" /\ thr[t].awake
    /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "follow", !.awake = FALSE])
    /\ UNCHANGED <<Pools, monitor, strikes, child, driver>>

\* The state decides, never the result of the wait.
TimedOut(t) ==
    /\ Pc(t) = "park" /\ t \in Hurried
    /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "enter", !.event = "Expire", !.next = "follow"])
    /\ UNCHANGED <<Pools, monitor, strikes, child, driver>>

Connect(t) ==
    /\ Pc(t) = "connect"
    /\ \/ /\ made' = made + 1
          /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "enter", !.made = made + 1,
                                  !.event = IF IsHelper(t) THEN "SomeOpened" ELSE "Opened",
                                  !.next = IF IsHelper(t) THEN "watch" ELSE "follow",
                                  !.todo = <<>>])
       \/ /\ Failures /\ ~IsHelper(t)
          /\ UNCHANGED made
          /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "enter", !.event = "OpenFailed",
                                         !.next = "abort", !.unwinds = TRUE])
    /\ UNCHANGED <<Pools, monitor, strikes, child, finished, twice, dropped, dirty, parents>>

\* Meanwhile somebody may close it.
Check(t) ==
    /\ Pc(t) = "check"
    /\ \/ Goes(t, "hold")
       \/ Set(t, LAMBDA f : [f EXCEPT !.pc = "enter", !.event = "Dead", !.next = "again"])
    /\ UNCHANGED <<Pools, monitor, strikes, child, driver>>

\* It waits again, with its ticket, and holds nothing.
Again(t) ==
    /\ Pc(t) = "again"
    /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "follow", !.key = 0])
    /\ UNCHANGED <<Pools, monitor, strikes, child, driver>>

\* It was closed while it was asked: nobody waits at this cell.
BeginAnew(t) ==
    /\ Pc(t) = "begin"
    /\ inbox' = Append(inbox, <<thr[t].ticket, thr[t].key>>)
    /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "drain", !.then = "restart", !.ticket = 0, !.key = 0])
    /\ UNCHANGED <<Pools, lock, owed, cells, jobs, orphans, closing, onlookers, notified,
                   strikes, child, driver>>

Ending(t) ==
    /\ Pc(t) = "hold"
    /\ \/ /\ Head(thr[t].left) \in {"release", "any"}
          /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "enter", !.event = "Release", !.next = "over"])
       \/ /\ Head(thr[t].left) \in {"discard", "any"}
          /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "enter", !.event = "Discard", !.next = "over"])
       \/ Head(thr[t].left) \in {"drop", "any"} /\ Goes(t, "lose")
    /\ UNCHANGED <<Pools, monitor, strikes, child, driver>>

-----------------------------------------------------------------------------
(* Waiting for the pool as a whole: pool/threads/onlookers.py. *)

Enlist(t) ==
    /\ Pc(t) = "enlist"
    /\ onlookers' = onlookers \cup {t}
    /\ Goes(t, "look")
    /\ UNCHANGED <<Pools, lock, owed, cells, inbox, jobs, orphans, closing, notified,
                   strikes, child, driver>>

IsAtRest ==
    /\ pool.in_use = {} /\ Opening(pool) = 0 /\ owed = <<>> /\ jobs = {} /\ closing = {}

Look(t) ==
    /\ Pc(t) = "look"
    /\ IF IsAtRest
       THEN onlookers' = onlookers \ {t} /\ Goes(t, "over") /\ UNCHANGED orphans
       ELSE IF Ready # {} /\ ~Background  \* who was interrupted may have left them
       THEN /\ orphans' = TRUE
            /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "perform", !.next = "look"])
            /\ UNCHANGED onlookers
       ELSE UNCHANGED <<onlookers, orphans>> /\ Goes(t, "looking")
    /\ UNCHANGED <<Pools, lock, owed, cells, inbox, jobs, closing, notified,
                   strikes, child, driver>>

LookAgain(t) ==
    /\ Pc(t) = "looking" /\ t \in notified
    /\ notified' = notified \ {t}
    /\ Goes(t, "look")
    /\ UNCHANGED <<Pools, lock, owed, cells, inbox, jobs, orphans, closing, onlookers,
                   strikes, child, driver>>

-----------------------------------------------------------------------------
(* A helper of the pool's own: pool/threads/helpers.py. *)

Watch(t) ==
    /\ Pc(t) = "watch"
    /\ \E job \in Ready :
         Set(t, LAMBDA f : [f EXCEPT !.todo = <<job>>,
                              !.pc = IF job.effect.effect = "Close" THEN "mark" ELSE "engage"])
    /\ UNCHANGED <<Pools, monitor, strikes, child, driver>>

Engage(t) ==
    /\ Pc(t) = "engage"
    /\ LET job == Head(thr[t].todo)
       IN  IF job \in Ready
           THEN jobs' = jobs \ {job} /\ Goes(t, "connect")
           ELSE UNCHANGED jobs /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "watch", !.todo = <<>>])
    /\ UNCHANGED <<Pools, lock, owed, cells, inbox, orphans, closing, onlookers, notified,
                   strikes, child, driver>>

-----------------------------------------------------------------------------
(* An exception, and the way out: Monitor.abort, Runtime.lose. *)

\* On the way out of the lock there is no place where the interpreter raises one; what has ended
\* is nobody's concern; and where it comes before a finalizer's first step, another does its work.
CanBeStruck(t) ==
    /\ strikes > 0 /\ ~IsHelper(t)
    /\ Pc(t) \notin Terminal \cup {"over", "restart", "unlock"}
    /\ Pc(t) = "lose" => thr[t].unwinds

\* A finalizer is at work. What comes to it is printed, and the program goes on.
Finalizes(f) == f.ended /\ ~f.unwinds

\* Where it goes then, outside the lock.
Unwinding(f) ==
    IF f.ended THEN "drain"
    ELSE IF f.unwinds \/ f.pc = "hold" THEN "lose"
    ELSE "abort"

Strike(t) ==
    /\ CanBeStruck(t)
    /\ strikes' = strikes - 1
    /\ LET f == thr[t]
           g == [Leads(f, "") EXCEPT !.unwinds = ~Finalizes(f), !.made = 0, !.answer = None,
                                     !.awake = FALSE, !.at = 1, !.cont = "",
                                     !.then = IF Finalizes(f) THEN "over" ELSE "gone"]
           out    == [g EXCEPT !.pc = Unwinding(f)]
           unlock == [g EXCEPT !.pc = "unlock", !.back = Unwinding(f)]
           \* Store.deliver does it again, then goes
           anew   == [g EXCEPT !.pc = "hand", !.cont = "unlock", !.back = Unwinding(f)]
       IN  /\ \E h \in IF lock # t THEN {out}
                      ELSE IF f.pc = "hand" /\ f.at = 1 THEN {anew, unlock}  \* not yet in it
                      ELSE IF f.pc \in {"hand", "wake"} THEN {anew}
                      ELSE {unlock} :
                thr' = [thr EXCEPT ![t] = h]
           /\ dropped' = dropped
                \cup (IF f.made # 0 THEN {f.made} ELSE {})
                \cup (IF f.pc = "close" THEN {Head(f.todo).effect.connection} ELSE {})
           /\ dirty' = dirty \cup (IF f.pc = "hold" THEN {f.conn} ELSE {})
           \* `finally`
           /\ closing' = {mark \in closing : mark[1] # t}
           /\ notified' = IF closing' = closing THEN notified ELSE notified \cup onlookers
           /\ onlookers' = onlookers \ {t}
    /\ UNCHANGED <<Pools, lock, owed, cells, inbox, jobs, orphans, child,
                   made, finished, twice, parents>>

Abort(t) ==
    /\ Pc(t) = "abort"
    /\ Goes(t, IF owed = <<>> THEN "aborted" ELSE "enter_again")
    /\ UNCHANGED <<Pools, monitor, strikes, child, driver>>

EnterAgain(t) ==
    /\ Pc(t) = "enter_again" /\ lock = None
    /\ lock' = t
    /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "hand", !.at = 1, !.cont = "unlock",
                                   !.back = "aborted"])
    /\ UNCHANGED <<Pools, owed, cells, inbox, jobs, orphans, closing, onlookers, notified,
                   strikes, child, driver>>

\* Not earlier: who finds it set looks only for what has been handed out.
Aborted(t) ==
    /\ Pc(t) = "aborted"
    /\ orphans' = TRUE
    /\ notified' = notified \cup onlookers
    /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "drain", !.then = "lose"])
    /\ UNCHANGED <<Pools, lock, owed, cells, inbox, jobs, closing, onlookers,
                   strikes, child, driver>>

\* Whatever it had is noted, by itself or by its handle's finalizer, which must not wait.
Lose(t) ==
    /\ Pc(t) = "lose"
    /\ inbox' = IF thr[t].ticket = 0 THEN inbox
                ELSE Append(inbox, <<thr[t].ticket, thr[t].key>>)
    /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "drain", !.then = IF f.unwinds THEN "gone" ELSE "over",
                                   !.ended = TRUE])
    /\ UNCHANGED <<Pools, lock, owed, cells, jobs, orphans, closing, onlookers, notified,
                   strikes, child, driver>>

-----------------------------------------------------------------------------
(* A fork: Performer._after_fork. Here is the child, where only this thread is. *)

Fork(t) ==
    /\ Forks /\ child = None /\ Pc(t) \notin Terminal /\ ~IsHelper(t)
    /\ child' = t
    /\ Forked
    /\ lock' = None /\ owed' = <<>> /\ cells' = {} /\ inbox' = <<>> /\ jobs' = {}
    /\ orphans' = FALSE /\ closing' = {} /\ onlookers' = {} /\ notified' = {}
    /\ parents' = (1..made) \ finished
    /\ thr' = [u \in Threads |->
                 IF u # t THEN [Fresh EXCEPT !.pc = "absent"]
                 ELSE [thr[u] EXCEPT !.stale = TRUE]]
    /\ UNCHANGED <<strikes, made, finished, twice, dropped, dirty>>

\* It comes back to what it was doing, with a monitor whose effects are nobody's: it touches no
\* connection, and an acquire begins again with the child's own.
ComesBack(t) ==
    /\ thr[t].stale /\ Pc(t) # "close"
    /\ thr' = [thr EXCEPT ![t] =
         Starts(t, IF thr[t].unwinds THEN <<>>
                   ELSE IF thr[t].key = 0 /\ Pc(t) # "over" THEN thr[t].left
                   ELSE Tail(thr[t].left))]
    /\ UNCHANGED <<Pools, monitor, strikes, child, driver>>

-----------------------------------------------------------------------------

Steps(t) ==
    \/ Over(t) \/ Restart(t)
    \/ Enter(t) \/ HandsOutFirst(t) \/ Commit(t) \/ Expect(t) \/ HandOut(t) \/ Wake(t) \/ Unlock(t)
    \/ Leave(t) \/ Drain(t) \/ Take(t) \/ DiscardNote(t) \/ CancelNote(t) \/ OwnUp(t) \/ StrikeOff(t)
    \/ Tell(t) \/ Perform(t) \/ Mark(t) \/ Claim(t) \/ Closed(t) \/ ClosingTold(t)
    \/ Follow(t) \/ Woken(t) \/ TimedOut(t) \/ Connect(t) \/ Check(t) \/ Again(t) \/ BeginAnew(t)
    \/ Ending(t) \/ Enlist(t) \/ Look(t) \/ LookAgain(t) \/ Watch(t) \/ Engage(t)
    \/ Abort(t) \/ EnterAgain(t) \/ Aborted(t) \/ Lose(t)

IsOver ==
    \A t \in Threads : \/ Pc(t) \in Terminal
                       \/ Pc(t) = "watch" /\ Ready = {}

\* So that nothing else is a deadlock.
Rests == IsOver /\ UNCHANGED all

\* No exception comes any more: who is stuck is not saved by one.
Calms == strikes > 0 /\ strikes' = 0 /\ UNCHANGED <<Pools, monitor, thr, child, driver>>

RuntimeNext ==
    \/ \E t \in Threads :
         \/ ~thr[t].stale /\ Steps(t)
         \/ Close(t)
         \/ Strike(t)
         \/ Fork(t)
         \/ ComesBack(t)
    \/ Calms
    \/ Rests

Filled ==
    LET Connection(n) == [key |-> n, connection |-> n, created |-> Start, jitter |-> 0]
        Item(n) == [entry |-> Connection(n), since |-> Start, seq |-> n]
    IN  [Empty EXCEPT !.idle = [i \in 1..Idle |-> Item(Idle + 1 - i)], !.next_seq = Idle + 1,
                      !.counters.opened = Idle]

RuntimeInit ==
    /\ pool = Kept(Filled, Start) /\ now = Start /\ last = Quiet
    /\ lock = None /\ owed = <<>> /\ cells = {} /\ inbox = <<>> /\ jobs = {}
    /\ orphans = FALSE /\ closing = {} /\ onlookers = {} /\ notified = {}
    /\ thr = [t \in Threads |-> Starts(t, Program(t))]
    /\ strikes = Strikes /\ child = None
    /\ made = Idle /\ finished = {} /\ twice = {} /\ dropped = {} /\ dirty = {} /\ parents = {}

-----------------------------------------------------------------------------
(* Promises. *)

Holding == {t \in Threads : Pc(t) = "hold" /\ ~thr[t].stale}

\* No two have one connection, and nobody has one that was closed, unless it was taken away.
OneHolder ==
    \A t \in Holding :
        /\ \A u \in Holding : thr[u].conn = thr[t].conn => u = t
        /\ thr[t].conn \in finished => Held(pool, thr[t].ticket, thr[t].key) = {}

\* Every close is done once (RUN-4), and none of the parent's in a child (RUN-9).
ClosesOnce == twice = {}
NotTheParents ==
    /\ finished \cap parents = {}
    /\ \A t \in Holding : thr[t].conn \notin parents

\* Every connect that is nobody's is done once (RUN-5).
AskedFor ==
    \A i \in DOMAIN owed :
        owed[i].effect.effect = "Close" /\ owed[i].effect.reason = "unasked" =>
            pool.phase = "closed"

\* Nobody is lent what another was interrupted over (RUN-7).
Clean ==
    /\ \A i \in DOMAIN pool.idle : pool.idle[i].entry.connection \notin dirty
    /\ \A t \in Holding : thr[t].conn \notin dirty

\* When nobody is in the lock, whoever waits does so because the state says so (RUN-2).
Told ==
    lock = None /\ owed = <<>> =>
        \A t \in Threads :
            Pc(t) = "park" /\ ~thr[t].stale /\ ~thr[t].awake =>
                Waiting(pool, thr[t].ticket) # {} /\ thr[t].ticket \in cells

\* Some note or job is left, and nobody knows (RUN-4, RUN-7).
NothingLost ==
    IsOver =>
        /\ lock = None /\ owed = <<>> /\ inbox = <<>> /\ cells = {}
        /\ jobs = {} \/ (orphans /\ ~Background)  \* whoever comes next does them
        /\ pool.in_use = {} /\ pool.waiters = {} /\ Opening(pool) = 0
        /\ closing = {}
        /\ (1..made) \ (finished \cup dropped \cup parents) =
             {pool.idle[i].entry.connection : i \in DOMAIN pool.idle}
             \cup {job.effect.connection : job \in {j \in jobs : j.effect.effect = "Close"}}

\* Every step is one of Pool.tla's, or none of its variables changes.
RefinesPool ==
    [][ LET event == last'.event
        IN  \/ event.name = "Acquire"    /\ Acquire(event.ticket, event.wait, event.owner)
            \/ event.name = "Opened"     /\ Opened(event.ticket, event.connection,
                                                   event.created, event.jitter)
            \/ event.name = "OpenFailed" /\ OpenFailed(event.ticket, event.error, event.jitter)
            \/ event.name = "Dead"       /\ Dead(event.ticket, event.key, event.wait)
            \/ event.name = "Release"    /\ Release(event.ticket, event.key, event.reusable)
            \/ event.name = "Discard"    /\ Discard(event.ticket, event.key)
            \/ event.name = "Expire"     /\ Expire(event.ticket)
            \/ event.name = "Cancel"     /\ Cancel(event.ticket)
            \/ event.name = "CloseAll"   /\ CloseAll
            \/ event.name = "Shutdown"   /\ Shutdown
            \/ event.name = "Forked"     /\ Forked ]_Pools

=============================================================================
