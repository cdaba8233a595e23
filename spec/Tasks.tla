------------------------------- MODULE Tasks -------------------------------
(***************************************************************************)
(* How tasks of asyncio share a pool: the protocol of pool/tasks.          *)
(*                                                                         *)
(* Theory.  As in Runtime.tla, what is decided is Pool.tla's, whose        *)
(* actions are used here as they are (RefinesPool).  What is shown here is *)
(* that nothing is lost on the way, whoever is cancelled wherever.         *)
(*                                                                         *)
(* There is one thread, and no lock: who runs (`cpu`) goes on until it     *)
(* awaits something, and only then somebody else does.  A caller awaits a  *)
(* future.  To cancel it cancels that future; or, where the future is done *)
(* and the caller has not run yet, it is cancelled when it runs.  All that *)
(* takes time is a task of the pool's own, which goes on.  What became of  *)
(* it is known to the pool when its callback has run.                      *)
(*                                                                         *)
(* Not between two awaits, but anywhere, a finalizer may note that a       *)
(* handle is lost, and the pool's tasks may be cancelled by others before  *)
(* they have begun.  A loop may be closed under its pool, or the process   *)
(* forked, between two callbacks; then callers of a second loop come.      *)
(*                                                                         *)
(* What is left out: times (a deadline may pass at any time, so may a      *)
(* pause), jitter, leaks, signal handlers, callers that must not wait, and *)
(* what a finalizer cuts in two: transition and handing out are one step   *)
(* here, for nothing of another's can come between.  The order of what is  *)
(* ready is any order.                                                     *)
(***************************************************************************)
EXTENDS Pool

CONSTANTS
    Callers,
    Second,       \* those of them that come when the first loop is closed, or in a child
    Program(_),   \* what a caller does, in order: borrow and "release", "discard" or "drop", or
                  \* "any" of these; "close_all", "shutdown"
    Hurried,      \* callers with a deadline
    Idle,         \* so many connections are idle at the beginning
    Failures,     \* whether connects and resets may fail
    Checks,       \* whether what has rested is asked whether it is alive
    Resets,       \* whether what comes back is to be reset
    Patience,     \* whether checks and closes may take too long
    Eager,        \* whether a task runs before it is known, and may have the pool apply an event
    Cancels,      \* so many cancellations come to callers
    Kills,        \* so many come to tasks of the pool
    Ending        \* what becomes of the first loop: "closed", "forked" or "" (it goes on)

VARIABLES
    cpu,       \* who runs, and what comes next
    cells,     \* tickets whose callers' cells are known
    inbox,     \* claims that are lost: a sequence of <<ticket, key>>
    jobs,      \* Io to be begun
    tasks,     \* of the pool's own
    busy,      \* keys of connections that are asked or reset
    closing,   \* keys of those that are being closed
    calls,     \* the loop was told to look at the inbox
    thr,       \* where each caller is, and what it has in its hands
    stray,     \* claims whose handle nobody refers to any more, which is not known yet
    cancels, kills,  \* that may still come
    era,       \* "first": the loop runs; "closed"; "second"
    made,      \* connections that were made: 1..made
    finished,  \* those that were closed
    twice,     \* those that were closed twice
    dropped,   \* those that nobody refers to any more
    torn,      \* those that were closed while they were asked or reset
    wrong,     \* what went wrong in some step: "unasked", "spared"
    parents    \* those of the parent process

monitor == <<cells, inbox, jobs, tasks, busy, closing, calls>>
driver  == <<made, finished, twice, dropped, torn, parents>>
books   == <<wrong, driver>>
budget  == <<cancels, kills, era>>
all     == <<pool, now, last, cpu, monitor, thr, stray, budget, books>>

\* What can be told apart: `last` is only a report of the last step.
View == <<pool, cpu, monitor, thr, stray, budget, books>>

Pools == <<pool, now, last>>

-----------------------------------------------------------------------------
(* Of the pool, as much as matters here. Of a pause it matters whether it is over. *)

Kept(p, time) ==
    [p EXCEPT !.issued = 0, !.granted = 0, !.last_error = None,
              !.failures = 0,
              !.retry_at = IF @ = None THEN None
                           ELSE IF time > Start \/ @ <= Start THEN Start ELSE Start + 1,
              !.counters = [ opened |-> Smallest({1, @.opened}), adopted |-> 0, closed |-> 0,
                             forgotten |-> 0, refused |-> 0, cancelled |-> 0, dead |-> 0 ]]

Still(time) == Start

-----------------------------------------------------------------------------
(* Callers, tasks of the pool, and who runs. *)

Fresh ==
    [ pc     |-> "start",
      left   |-> <<>>,        \* of its program
      ticket |-> 0, key |-> 0, conn |-> 0,  \* its handle
      answer |-> None,        \* in its cell
      asked  |-> None,        \* what the check said
      future |-> "none",      \* that it awaits: "pending", "done", "cancelled"
      hit    |-> FALSE,       \* it is to be cancelled when it runs
      alarm  |-> FALSE,       \* a timer is set for its deadline
      late   |-> FALSE,       \* which has passed
      cancelled |-> FALSE,    \* it was
      end    |-> "" ]         \* how it ended: "cancelled", or "over"

Pc(t) == thr[t].pc
Set(t, changes(_)) == thr' = [thr EXCEPT ![t] = changes(@)]

\* A future has a result: who awaits it is going to run.
Wake(f) == IF f.future = "pending" THEN [f EXCEPT !.future = "done"] ELSE f

\* It awaits nothing, or what it awaits is done.
IsReady(f) == f.future # "pending" \/ f.hit
IsThrown(f) == f.hit \/ f.future = "cancelled"

Nobody ==
    [ pc |-> "idle", who |-> None, event |-> "", ticket |-> 0, key |-> 0, conn |-> 0,
      ok |-> TRUE, next |-> "", todo |-> <<>>, begun |-> FALSE ]

IsIdle == cpu.pc = "idle"

Task(what, number, key, conn, ticket, who) ==
    [ what |-> what, number |-> number, key |-> key, conn |-> conn, ticket |-> ticket,
      who |-> who,             \* the caller that waits for it
      state |-> "going", ok |-> FALSE, answered |-> FALSE,
      known |-> TRUE ]         \* the pool refers to it

Uses(task) == task.what \in {"check", "reset"} /\ task.state = "going"

\* An effect is an object: of two connects each is itself.
Objects(effects) ==
    LET used == {job.number : job \in jobs} \cup {task.number : task \in tasks}
        free == Sorted((1..(Cardinality(used) + Len(effects))) \ used, LAMBDA a, b : a < b)
        Number(i) == IF effects[i].effect = "Close" THEN 0 ELSE free[i]
    IN  {[effect |-> effects[i], number |-> Number(i)] :
            i \in {n \in DOMAIN effects : effects[n].effect \in {"Open", "Close"}}}

SeqOf(S) ==
    LET Rank(job) == IF job.effect.effect = "Close" THEN job.effect.key ELSE 100 + job.number
    IN  Sorted(S, LAMBDA a, b : Rank(a) < Rank(b))

-----------------------------------------------------------------------------
(* One transition, and what is decided handed out: Performer.apply, Store.change. *)

Applies ==
    \/ cpu.event = "Acquire"    /\ Acquire(pool.next_ticket, cpu.ok, None)
    \/ cpu.event = "Expire"     /\ Expire(cpu.ticket)
    \/ cpu.event = "Opened"     /\ Opened(None, cpu.conn, now, 0)
    \/ cpu.event = "OpenFailed" /\ OpenFailed(None, "down", 0)
    \/ cpu.event = "Dead"       /\ Dead(cpu.ticket, cpu.key, cpu.ok)
    \/ cpu.event = "Release"    /\ Release(cpu.ticket, cpu.key, cpu.ok)
    \/ cpu.event = "Discard"    /\ Discard(cpu.ticket, cpu.key)
    \/ cpu.event = "Cancel"     /\ Cancel(cpu.ticket)
    \/ cpu.event = "CloseAll"   /\ CloseAll
    \/ cpu.event = "Shutdown"   /\ Shutdown
    \/ cpu.event = "Tick"       /\ Tick

Onlookers == {t \in Callers : Pc(t) = "looking"}

\* Store.hand_out: who is answered is at its cell no more.
HandsOut(found, known) ==
    LET told == {effect \in Range(last'.effects) :
                    effect.effect \in {"Grant", "Refuse"} /\ effect.ticket \in known}
        Answer(t) == {effect \in told : effect.ticket = found[t].ticket}
        isUnasked(effect) == effect.effect = "Close" /\ effect.reason = "unasked"
        isReset(key) == \E task \in tasks :
                            Uses(task) /\ task.what = "reset" /\ task.key = key
    IN  /\ cells' = known \ {effect.ticket : effect \in told}
        /\ wrong' = wrong
             \cup (IF \E effect \in Range(last'.effects) : isUnasked(effect)
                   THEN {"unasked"} ELSE {})
             \cup (IF last'.event.name = "Discard" /\ isReset(last'.event.key)
                   THEN {"spared"} ELSE {})
        /\ jobs' = jobs \cup Objects(last'.effects)
        /\ thr' = [t \in Callers |->
                     IF Answer(t) = {} THEN found[t]
                     ELSE LET effect == CHOOSE e \in Answer(t) : TRUE
                          IN  Wake([found[t] EXCEPT !.answer = effect])]

Commit ==
    /\ cpu.pc = "apply"
    /\ Applies
    /\ LET t == cpu.who
           ticket == IF cpu.event = "Acquire" THEN last'.event.ticket ELSE cpu.ticket
           waits == cpu.event \in {"Acquire", "Dead"}  \* at its cell, from now on
           found == IF waits
                    THEN [thr EXCEPT ![t] = [@ EXCEPT !.ticket = ticket, !.key = 0, !.conn = 0,
                                                      !.future = "pending", !.answer = None]]
                    ELSE thr
           known == IF waits THEN cells \cup {ticket} ELSE cells
       IN  HandsOut(found, IF cpu.event = "Dead" /\ Ignored THEN known \ {ticket} ELSE known)
    /\ cpu' = [cpu EXCEPT !.pc = IF jobs' = {} /\ inbox = <<>> /\ Onlookers = {}
                                 THEN cpu.next ELSE "leave",
                          !.ok = ~Ignored]
    /\ UNCHANGED <<inbox, tasks, busy, closing, calls, stray, budget, driver>>

-----------------------------------------------------------------------------
(* What is left to do then: Performer._leave. *)

\* Store.take, for the first note.
Leave ==
    /\ cpu.pc = "leave"
    /\ IF inbox = <<>>
       THEN cpu' = [cpu EXCEPT !.pc = "begin", !.todo = SeqOf(jobs)] /\ UNCHANGED cells
       ELSE /\ cells' = cells \ {Head(inbox)[1]}
            /\ cpu' = [cpu EXCEPT !.pc = IF Head(inbox)[2] = 0 THEN "cancel" ELSE "discard"]
    /\ UNCHANGED <<Pools, inbox, jobs, tasks, busy, closing, calls, thr, stray, budget, books>>

DiscardNote ==
    /\ cpu.pc = "discard"
    /\ Discard(Head(inbox)[1], Head(inbox)[2])
    /\ HandsOut(thr, cells)
    /\ cpu' = [cpu EXCEPT !.pc = "cancel"]
    /\ UNCHANGED <<inbox, tasks, busy, closing, calls, stray, budget, driver>>

CancelNote ==
    /\ cpu.pc = "cancel"
    /\ Cancel(Head(inbox)[1])
    /\ HandsOut(thr, cells)
    /\ inbox' = Tail(inbox)
    /\ cpu' = [cpu EXCEPT !.pc = "leave"]
    /\ UNCHANGED <<tasks, busy, closing, calls, stray, budget, driver>>

\* Performer._start.
TaskOf(job) ==
    IF job.effect.effect = "Close"
    THEN Task("close", 0, job.effect.key, job.effect.connection, 0, None)
    ELSE Task("connect", job.number, 0, 0, 0, None)

\* Performer._begin: who takes it out of the list does it, and takes it out first.
Begin ==
    /\ cpu.pc = "begin" /\ cpu.todo # <<>>
    /\ LET job == Head(cpu.todo)
       IN  /\ closing' = IF job.effect.effect = "Close" THEN closing \cup {job.effect.key}
                         ELSE closing
           /\ IF job \in jobs
              THEN jobs' = jobs \ {job} /\ tasks' = tasks \cup {TaskOf(job)}
              ELSE UNCHANGED <<jobs, tasks>>
           /\ cpu' = [cpu EXCEPT !.todo = Tail(@), !.begun = job \in jobs]
    /\ UNCHANGED <<Pools, cells, inbox, busy, calls, thr, stray, budget, books>>

\* The task runs before it is known, and has the pool apply an event, after which all is begun.
Meddle ==
    /\ Eager /\ cpu.pc = "begin" /\ cpu.begun /\ jobs # {}
    /\ closing' = closing \cup {job.effect.key : job \in {j \in jobs : j.effect.effect = "Close"}}
    /\ tasks' = tasks \cup {[TaskOf(job) EXCEPT !.number = IF @ = 0 THEN 0 ELSE @ + 10]
                            : job \in jobs}
    /\ jobs' = {}
    /\ cpu' = [cpu EXCEPT !.begun = FALSE]
    /\ UNCHANGED <<Pools, cells, inbox, busy, calls, thr, stray, budget, books>>

\* Monitor.notify: whoever waits for the pool as a whole looks again.
Notify ==
    /\ cpu.pc = "begin" /\ cpu.todo = <<>>
    /\ thr' = [t \in Callers |-> IF t \in Onlookers THEN Wake(thr[t]) ELSE thr[t]]
    /\ cpu' = [cpu EXCEPT !.pc = cpu.next, !.begun = FALSE]
    /\ UNCHANGED <<Pools, monitor, stray, budget, books>>

\* A callback ends.
Return ==
    /\ cpu.pc = "return"
    /\ cpu' = Nobody
    /\ UNCHANGED <<Pools, monitor, thr, stray, budget, books>>

-----------------------------------------------------------------------------
(* What a caller does: Runtime.acquire and _follow. *)

Comes(t) == IF t \in Second THEN era = "second" ELSE era = "first"

Applying(t, event, ok, next) ==
    [Nobody EXCEPT !.pc = "apply", !.who = t, !.event = event, !.ok = ok, !.next = next,
                   !.ticket = thr[t].ticket, !.key = thr[t].key, !.conn = thr[t].conn]

Ends(f, how) ==
    [Fresh EXCEPT !.pc = "done", !.end = how, !.cancelled = f.cancelled, !.alarm = f.alarm]

\* Its first step, and the first of each thing that it does.
Starts(t) ==
    /\ IsIdle /\ Comes(t) /\ Pc(t) = "start"
    /\ IF thr[t].hit
       THEN Set(t, LAMBDA f : Ends(f, "cancelled")) /\ UNCHANGED cpu
       ELSE LET does == Head(thr[t].left)
            IN  /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "runs",
                                               !.alarm = t \in Hurried /\ does \notin
                                                         {"close_all", "shutdown"}])
                /\ cpu' = CASE does = "close_all" -> Applying(t, "CloseAll", TRUE, "over")
                            [] does = "shutdown"  -> Applying(t, "Shutdown", TRUE, "look")
                            [] OTHER              -> Applying(t, "Acquire", TRUE, "follow")
    /\ UNCHANGED <<Pools, monitor, stray, budget, books>>

\* The next thing of its program, or the end.
Over ==
    /\ cpu.pc = "over"
    /\ Set(cpu.who, LAMBDA f :
           IF Len(f.left) = 1 THEN Ends(f, "over")
           ELSE [Fresh EXCEPT !.left = Tail(f.left), !.hit = f.hit, !.cancelled = f.cancelled])
    /\ cpu' = Nobody
    /\ UNCHANGED <<Pools, monitor, stray, budget, books>>

Cancelled ==
    /\ cpu.pc = "cancelled"
    /\ Set(cpu.who, LAMBDA f : Ends(f, "cancelled"))
    /\ cpu' = Nobody
    /\ UNCHANGED <<Pools, monitor, stray, budget, books>>

Holds(f) == [f EXCEPT !.pc = "hold", !.future = "pending", !.alarm = FALSE]

\* It does what the cell says.
Follow ==
    /\ cpu.pc = "follow"
    /\ LET t == cpu.who
           f == thr[t]
           is == IF f.answer = None THEN "None" ELSE f.answer.effect
           granted == [f EXCEPT !.key = f.answer.key, !.conn = f.answer.connection,
                                !.answer = None]
       IN  CASE is = "None" ->
                  /\ Set(t, LAMBDA g : [g EXCEPT !.pc = "park"])
                  /\ cpu' = Nobody /\ UNCHANGED <<tasks, busy>>
             [] is = "Refuse" ->
                  /\ Set(t, LAMBDA g : [g EXCEPT !.ticket = 0, !.alarm = FALSE])
                  /\ cpu' = [cpu EXCEPT !.pc = "over"] /\ UNCHANGED <<tasks, busy>>
             [] is = "Grant" /\ ~(Checks /\ f.answer.rested # None) ->
                  /\ Set(t, LAMBDA g : Holds(granted))
                  /\ cpu' = Nobody /\ UNCHANGED <<tasks, busy>>
             [] OTHER ->  \* Runtime._ask
                  /\ tasks' = tasks \cup {Task("check", 0, granted.key, granted.conn, f.ticket, t)}
                  /\ busy' = busy \cup {granted.key}
                  /\ Set(t, LAMBDA g : [granted EXCEPT !.asked = None, !.future = "pending",
                                                       !.pc = IF f.late THEN "runs" ELSE "asked"])
                  /\ cpu' = IF f.late THEN [cpu EXCEPT !.pc = "unasked"] ELSE Nobody
    /\ UNCHANGED <<Pools, cells, inbox, jobs, closing, calls, stray, budget, books>>

\* Runtime.give_up: whatever it has is noted.
GivesUp(t, f) ==
    /\ inbox' = IF f.ticket = 0 /\ f.key = 0 THEN inbox ELSE Append(inbox, <<f.ticket, f.key>>)
    /\ thr' = [thr EXCEPT ![t] = [f EXCEPT !.ticket = 0, !.key = 0, !.alarm = FALSE,
                                           !.pc = "runs", !.answer = None, !.future = "none",
                                           !.hit = FALSE]]
    /\ cpu' = [Nobody EXCEPT !.who = t, !.pc = "leave", !.next = "cancelled"]

Wakes(t, pc) == IsIdle /\ Pc(t) = pc /\ IsReady(thr[t])

\* From its await.
Woken(t) ==
    /\ Wakes(t, "park")
    /\ IF IsThrown(thr[t])
       THEN GivesUp(t, thr[t])
       ELSE /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "runs"])
            /\ cpu' = [Nobody EXCEPT !.who = t, !.pc = "follow"]
            /\ UNCHANGED inbox
    /\ UNCHANGED <<Pools, cells, jobs, tasks, busy, closing, calls, stray, budget, books>>

\* Performer._leave_to: the claim is the check's.
LeavesTo(t) == {IF task.what = "check" /\ task.who = t THEN [task EXCEPT !.who = None] ELSE task
                : task \in tasks}

\* The end of Runtime._ask.
Answered(t) ==
    /\ Wakes(t, "asked") \/ (cpu.pc = "unasked" /\ cpu.who = t)
    /\ LET f == thr[t]
           thrown == IsThrown(f)
           empty == [f EXCEPT !.ticket = 0, !.key = 0]
       IN  CASE f.asked = None /\ thrown ->
                  /\ tasks' = LeavesTo(t)
                  /\ GivesUp(t, empty)
             [] f.asked = None /\ ~thrown ->
                  /\ tasks' = LeavesTo(t)
                  /\ Set(t, LAMBDA g : [empty EXCEPT !.pc = "runs", !.alarm = FALSE])
                  /\ cpu' = [Nobody EXCEPT !.who = t, !.pc = "over"]
                  /\ UNCHANGED inbox
             [] f.asked = TRUE /\ thrown ->
                  /\ GivesUp(t, [f EXCEPT !.key = 0])  \* it is left to the next
                  /\ UNCHANGED tasks
             [] f.asked = TRUE /\ ~thrown ->
                  /\ Set(t, LAMBDA g : Holds(g))
                  /\ cpu' = Nobody /\ UNCHANGED <<inbox, tasks>>
             [] f.asked = FALSE /\ thrown ->
                  /\ GivesUp(t, f)
                  /\ UNCHANGED tasks
             [] OTHER ->
                  /\ Set(t, LAMBDA g : [g EXCEPT !.pc = "runs"])
                  /\ cpu' = Applying(t, "Dead", TRUE, "anew")
                  /\ UNCHANGED <<inbox, tasks>>
    /\ UNCHANGED <<Pools, cells, jobs, busy, closing, calls, stray, budget, books>>

\* It waits again. If somebody closed it while it was asked, with another ticket. A deadline that
\* has passed meanwhile passes no more.
Anew ==
    /\ cpu.pc = "anew"
    /\ LET t == cpu.who
       IN  cpu' = IF ~cpu.ok THEN Applying(t, "Acquire", ~thr[t].late, "follow")
                  ELSE IF thr[t].late /\ thr[t].ticket \in cells
                  THEN Applying(t, "Expire", TRUE, "follow")
                  ELSE [cpu EXCEPT !.pc = "follow"]
    /\ UNCHANGED <<Pools, monitor, thr, stray, budget, books>>

\* Runtime._expire: an event like any other, which another may have forestalled.
Deadline(t) ==
    /\ IsIdle /\ Comes(t) /\ thr[t].alarm
    /\ Set(t, LAMBDA f : IF f.ticket \in cells THEN [f EXCEPT !.alarm = FALSE, !.late = TRUE]
                         ELSE Wake([f EXCEPT !.alarm = FALSE, !.late = TRUE]))
    /\ cpu' = IF thr[t].ticket \in cells
              THEN [Applying(t, "Expire", TRUE, "return") EXCEPT !.who = None]
              ELSE Nobody
    /\ UNCHANGED <<Pools, monitor, stray, budget, books>>

-----------------------------------------------------------------------------
(* The end of a checkout: Runtime.give_back, discard, lose. *)

Ways(t) ==
    LET does == Head(thr[t].left)
    IN  (IF does \in {"release", "any"} THEN {"release"} ELSE {})
        \cup (IF does \in {"discard", "any"} THEN {"discard"} ELSE {})
        \cup (IF does \in {"drop", "any"} THEN {"drop"} ELSE {})

\* With an await only where something is to be reset, and its caller was not cancelled.
GivesBack(t, way, end) ==
    LET f == thr[t]
        resets == way = "release" /\ Resets
    IN  /\ Set(t, LAMBDA g :
               IF resets /\ end = "over" THEN [g EXCEPT !.pc = "returning", !.future = "pending"]
               ELSE [g EXCEPT !.pc = "runs", !.hit = FALSE])
        /\ tasks' = IF resets
                    THEN tasks \cup {Task("reset", 0, f.key, f.conn, f.ticket, t)} ELSE tasks
        /\ busy' = IF resets THEN busy \cup {f.key} ELSE busy
        /\ stray' = IF way = "drop" THEN stray \cup {<<f.ticket, f.key>>} ELSE stray
        /\ cpu' = CASE way = "release" /\ ~Resets -> Applying(t, "Release", TRUE, end)
                    [] way = "discard"            -> Applying(t, "Discard", TRUE, end)
                    [] resets /\ end = "over"     -> Nobody
                    [] OTHER -> [Nobody EXCEPT !.who = t, !.pc = end]

\* It is done with it; or cancelled in the middle of something, or not.
EndsHold(t) ==
    /\ IsIdle /\ Comes(t) /\ Pc(t) = "hold"
    /\ IF IsThrown(thr[t])
       THEN \E way \in Ways(t) \cup (IF Ways(t) = {"release"} THEN {"discard"} ELSE {}) :
               GivesBack(t, way, "cancelled")
       ELSE \E way \in Ways(t) : GivesBack(t, way, "over")
    /\ UNCHANGED <<Pools, cells, inbox, jobs, closing, calls, budget, books>>

\* From the await of Runtime.release. The pool goes on with the reset if it is cancelled.
Returned(t) ==
    /\ Wakes(t, "returning")
    /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "runs", !.hit = FALSE])
    /\ cpu' = [Nobody EXCEPT !.who = t, !.pc = IF IsThrown(thr[t]) THEN "cancelled" ELSE "over"]
    /\ UNCHANGED <<Pools, monitor, stray, budget, books>>

\* A finalizer, at any time: what was lost is noted, and the loop told.
Collect ==
    \E note \in stray :
        /\ stray' = stray \ {note}
        /\ inbox' = Append(inbox, note)
        /\ calls' = (era # "closed")
        /\ UNCHANGED <<Pools, cpu, cells, jobs, tasks, busy, closing, thr, budget, books>>

Called ==
    /\ IsIdle /\ calls
    /\ calls' = FALSE
    /\ cpu' = [Nobody EXCEPT !.pc = "leave", !.next = "return"]
    /\ UNCHANGED <<Pools, cells, inbox, jobs, tasks, busy, closing, thr, stray, budget, books>>

-----------------------------------------------------------------------------
(* Waiting for the pool as a whole: Runtime.until. *)

IsAtRest == pool.in_use = {} /\ Opening(pool) = 0 /\ jobs = {} /\ closing = {}

Look ==
    /\ cpu.pc = "look"
    /\ IF IsAtRest
       THEN cpu' = [cpu EXCEPT !.pc = "over"] /\ UNCHANGED thr
       ELSE /\ cpu' = Nobody
            /\ Set(cpu.who, LAMBDA f : [f EXCEPT !.pc = "looking", !.future = "pending"])
    /\ UNCHANGED <<Pools, monitor, stray, budget, books>>

LookAgain(t) ==
    /\ Wakes(t, "looking")
    /\ Set(t, LAMBDA f : [f EXCEPT !.pc = "runs", !.hit = FALSE])
    /\ cpu' = [Nobody EXCEPT !.who = t, !.pc = IF IsThrown(thr[t]) THEN "cancelled" ELSE "look"]
    /\ UNCHANGED <<Pools, monitor, stray, budget, books>>

-----------------------------------------------------------------------------
(* Tasks of the pool: pool/tasks/performer.py. *)

With(task, other) == (tasks \ {task}) \cup {other}

\* What it awaits of the driver has come. A close waits until what is asked or reset is at rest.
Done(task) ==
    /\ IsIdle /\ era # "closed" /\ task.state = "going"
    /\ task.what = "close" => task.key \notin busy
    /\ \E ok \in IF task.what = "close" \/ ~(Failures \/ (Checks /\ task.what = "check"))
                 THEN {TRUE} ELSE BOOLEAN :
          /\ made' = IF task.what = "connect" /\ ok THEN made + 1 ELSE made
          /\ tasks' = With(task, [task EXCEPT !.state = "ended", !.ok = ok,
                                   !.conn = IF task.what = "connect" /\ ok THEN made' ELSE @])
    /\ LET used == {other.conn : other \in {x \in tasks : Uses(x)}}
       IN  IF task.what = "close"
           THEN /\ finished' = finished \cup {task.conn}
                /\ twice' = twice \cup ({task.conn} \cap finished)
                /\ torn' = torn \cup ({task.conn} \cap used)
           ELSE UNCHANGED <<finished, twice, torn>>
    /\ UNCHANGED <<Pools, cpu, cells, inbox, jobs, busy, closing, calls, thr, stray, budget,
                   wrong, dropped, parents>>

\* Somebody cancels it, perhaps before its first step. A close also by a timer of its own.
Killed(task) ==
    /\ IsIdle /\ era # "closed" /\ task.state = "going"
    /\ \/ kills > 0 /\ kills' = kills - 1
       \/ Patience /\ task.what = "close" /\ UNCHANGED kills
    /\ tasks' = With(task, [task EXCEPT !.state = "cancelled"])
    /\ UNCHANGED <<Pools, cpu, cells, inbox, jobs, busy, closing, calls, thr, stray, cancels, era,
                   books>>

\* The loop holds tasks weakly.
Vanishes(task) ==
    /\ ~task.known
    /\ tasks' = tasks \ {task}
    /\ UNCHANGED <<Pools, cpu, cells, inbox, jobs, busy, closing, calls, thr, stray, budget,
                   books>>

HasEnded(task, what) ==
    /\ IsIdle /\ era # "closed" /\ task.state # "going" /\ task.what = what

\* Performer._connected: every Open has one outcome (RUN-5).
Connected(task) ==
    /\ HasEnded(task, "connect")
    /\ tasks' = tasks \ {task}
    /\ cpu' = [Nobody EXCEPT !.pc = "apply", !.next = "return", !.conn = task.conn,
                             !.event = IF task.ok THEN "Opened" ELSE "OpenFailed"]
    /\ UNCHANGED <<Pools, cells, inbox, jobs, busy, closing, calls, thr, stray, budget, books>>

\* Performer._was_reset
WasReset(task) ==
    /\ HasEnded(task, "reset")
    /\ tasks' = tasks \ {task}
    /\ busy' = busy \ {task.key}
    /\ thr' = [t \in Callers |-> IF t = task.who /\ Pc(t) = "returning" THEN Wake(thr[t])
                                 ELSE thr[t]]
    /\ cpu' = [Nobody EXCEPT !.pc = "apply", !.next = "return", !.event = "Release",
                             !.ticket = task.ticket, !.key = task.key, !.ok = task.ok]
    /\ UNCHANGED <<Pools, cells, inbox, jobs, closing, calls, stray, budget, books>>

\* Performer._answer, once: to the caller, or in the place of one who is gone.
Answers(task, ok) ==
    /\ thr' = [t \in Callers |-> IF t = task.who /\ ~task.answered
                                 THEN Wake([thr[t] EXCEPT !.asked = ok]) ELSE thr[t]]
    /\ cpu' = IF task.answered \/ task.who # None THEN Nobody
              ELSE [Nobody EXCEPT !.pc = "apply", !.next = "return", !.ticket = task.ticket,
                                  !.key = task.key, !.event = IF ok THEN "Cancel" ELSE "Discard"]

\* Performer._was_asked
WasAsked(task) ==
    /\ HasEnded(task, "check")
    /\ tasks' = tasks \ {task}
    /\ busy' = busy \ {task.key}
    /\ Answers(task, task.ok)
    /\ UNCHANGED <<Pools, cells, inbox, jobs, closing, calls, stray, budget, books>>

\* Performer._give_up_on: it took too long.
GiveUpOn(task) ==
    /\ Patience /\ IsIdle /\ era # "closed" /\ task.what = "check" /\ task.state = "going"
    /\ tasks' = With(task, [task EXCEPT !.state = "cancelled", !.answered = TRUE])
    /\ Answers(task, FALSE)
    /\ UNCHANGED <<Pools, cells, inbox, jobs, busy, closing, calls, stray, budget, books>>

\* Performer._was_closed: what was cancelled is dropped without goodbye, and what is being done
\* with the connection is cancelled first.
WasClosed(task) ==
    /\ HasEnded(task, "close")
    /\ LET rest == tasks \ {task}
           stops == {other \in rest : Uses(other) /\ other.key = task.key}
           left == (rest \ stops) \cup {[other EXCEPT !.state = "cancelled"] : other \in stops}
           used == {other.conn : other \in {x \in left : Uses(x)}}
       IN  IF task.state = "cancelled"
           THEN /\ tasks' = left
                /\ finished' = finished \cup {task.conn}
                /\ twice' = twice \cup ({task.conn} \cap finished)
                /\ torn' = torn \cup ({task.conn} \cap used)
           ELSE tasks' = rest /\ UNCHANGED <<finished, twice, torn>>
    /\ closing' = closing \ {task.key}
    /\ cpu' = [Nobody EXCEPT !.pc = "leave", !.next = "return"]
    /\ UNCHANGED <<Pools, cells, inbox, jobs, busy, calls, thr, stray, budget, wrong, made,
                   dropped, parents>>

\* Performer._look: time passes, and when something is due the loop is told.
Later ==
    /\ IsIdle /\ era # "closed" /\ pool.retry_at # None /\ pool.retry_at > now
    /\ Pass
    /\ UNCHANGED <<cpu, monitor, thr, stray, budget, books>>

Rings ==
    /\ IsIdle /\ era # "closed" /\ pool.retry_at # None /\ pool.retry_at <= now
    /\ cpu' = [Nobody EXCEPT !.pc = "apply", !.next = "return", !.event = "Tick"]
    /\ UNCHANGED <<Pools, monitor, thr, stray, budget, books>>

-----------------------------------------------------------------------------
(* A cancellation, at any await. *)

Cancellation(t) ==
    /\ IsIdle /\ Comes(t) /\ cancels > 0 /\ Pc(t) # "done"
    /\ cancels' = cancels - 1
    /\ Set(t, LAMBDA f : IF f.future = "pending"
                         THEN [f EXCEPT !.future = "cancelled", !.cancelled = TRUE]
                         ELSE [f EXCEPT !.hit = TRUE, !.cancelled = TRUE])
    /\ UNCHANGED <<Pools, cpu, monitor, stray, kills, era, books>>

-----------------------------------------------------------------------------
(* The loop is closed, or the process forked: Runtime.abandon_loop, Runtime._after_fork. *)

Live ==
    {pool.idle[i].entry.connection : i \in DOMAIN pool.idle}
    \cup {lease.entry.connection : lease \in pool.in_use}
    \cup {job.effect.connection : job \in {j \in jobs : j.effect.effect = "Close"}}
    \cup {task.conn : task \in {x \in tasks : x.what = "close" /\ x.key \in closing}}

\* Nobody goes on of those who were there.
Leaves == thr' = [t \in Callers |-> IF t \in Second THEN thr[t]
                                    ELSE [Fresh EXCEPT !.pc = "done", !.end = "over"]]

CloseLoop ==
    /\ Ending = "closed" /\ era = "first" /\ IsIdle
    /\ era' = "closed"
    /\ Leaves
    /\ calls' = FALSE
    /\ UNCHANGED <<Pools, cpu, cells, inbox, jobs, tasks, busy, closing, stray, cancels, kills,
                   books>>

Begins ==
    /\ Forked
    /\ era' = "second"
    /\ cells' = {} /\ inbox' = <<>> /\ jobs' = {} /\ tasks' = {} /\ busy' = {} /\ closing' = {}
    /\ calls' = FALSE
    /\ stray' = {}  \* whatever is noted is noted where nobody looks
    /\ dropped' = dropped \cup {task.conn : task \in {x \in tasks : x.what = "connect" /\ x.ok}}
    /\ UNCHANGED <<cpu, cancels, kills, wrong, made, twice, torn>>

AbandonLoop ==
    /\ era = "closed" /\ Second # {}
    /\ Begins
    /\ finished' = finished \cup Live
    /\ UNCHANGED <<thr, parents>>

AfterFork ==
    /\ Ending = "forked" /\ era = "first" /\ IsIdle
    /\ Begins
    /\ Leaves
    /\ parents' = (1..made) \ finished
    /\ UNCHANGED finished

-----------------------------------------------------------------------------

Steps ==
    \/ Commit \/ Leave \/ DiscardNote \/ CancelNote \/ Begin \/ Meddle \/ Notify \/ Return
    \/ Over \/ Cancelled \/ Follow \/ Anew \/ Look \/ Collect \/ Called \/ Later \/ Rings
    \/ \E t \in Callers :
         \/ Starts(t) \/ Woken(t) \/ Answered(t) \/ Deadline(t) \/ EndsHold(t) \/ Returned(t)
         \/ LookAgain(t) \/ Cancellation(t)
    \/ \E task \in tasks :
         \/ Done(task) \/ Killed(task) \/ Vanishes(task) \/ Connected(task) \/ WasReset(task)
         \/ WasAsked(task) \/ GiveUpOn(task) \/ WasClosed(task)
    \/ CloseLoop \/ AbandonLoop \/ AfterFork

IsOver ==
    /\ IsIdle /\ ~calls /\ stray = {} /\ tasks = {}
    /\ \A t \in Callers : Pc(t) = "done" \/ (t \in Second /\ era = "first" /\ Ending # "")

\* So that nothing else is a deadlock.
Rests == IsOver /\ UNCHANGED all

\* No cancellation comes any more: who is stuck is not saved by one.
Calms ==
    /\ cancels + kills > 0 /\ cancels' = 0 /\ kills' = 0
    /\ UNCHANGED <<Pools, cpu, monitor, thr, stray, era, books>>

TasksNext == Steps \/ Calms \/ Rests

Filled ==
    LET Connection(n) == [key |-> n, connection |-> n, created |-> Start, jitter |-> 0]
        Item(n) == [entry |-> Connection(n), since |-> Start, seq |-> n]
    IN  [Empty EXCEPT !.idle = [i \in 1..Idle |-> Item(Idle + 1 - i)], !.next_seq = Idle + 1,
                      !.counters.opened = Idle]

TasksInit ==
    /\ pool = Kept(Filled, Start) /\ now = Start /\ last = Quiet
    /\ cpu = Nobody /\ cells = {} /\ inbox = <<>> /\ jobs = {} /\ tasks = {}
    /\ busy = {} /\ closing = {} /\ calls = FALSE
    /\ thr = [t \in Callers |-> [Fresh EXCEPT !.left = Program(t)]]
    /\ stray = {} /\ cancels = Cancels /\ kills = Kills /\ era = "first"
    /\ made = Idle /\ finished = {} /\ twice = {} /\ dropped = {} /\ torn = {} /\ parents = {}
    /\ wrong = {}

-----------------------------------------------------------------------------
(* Promises. *)

Holding == {t \in Callers : Pc(t) = "hold"}

\* No two have one connection, and nobody has one that was closed, unless it was taken away.
OneHolder ==
    \A t \in Holding :
        /\ \A u \in Holding : thr[u].conn = thr[t].conn => u = t
        /\ thr[t].conn \in finished => Held(pool, thr[t].ticket, thr[t].key) = {}
        /\ \A task \in tasks : Uses(task) => task.conn # thr[t].conn

\* Every close is done once (RUN-4), and not while the pool uses the connection (RUN-12).
ClosesOnce == twice = {}
NotTorn == torn = {}

\* None of the parent's is used in a child, and none of a loop that is closed (RUN-9, RUN-11).
NotTheParents ==
    /\ finished \cap parents = {}
    /\ \A t \in Holding : thr[t].conn \notin parents

\* Every connect is done once (RUN-5).
AskedFor == "unasked" \notin wrong

\* What its caller gave back is not given up while it is reset.
Spared == "spared" \notin wrong

\* Whoever waits does so because the state says so (RUN-2), or something under way answers it.
Told ==
    IsIdle /\ era # "closed" =>
        \A t \in Callers :
            LET f == thr[t]
                Awaits(what) == \E task \in tasks : task.what = what /\ task.who = t
            IN  ~IsReady(f) =>
                    /\ f.pc = "park" => Waiting(pool, f.ticket) # {} /\ f.ticket \in cells
                    /\ f.pc = "asked" => Awaits("check")
                    /\ f.pc = "returning" => Awaits("reset")

\* Nobody waits whose deadline has passed (RUN-6).
Punctual ==
    IsIdle => \A t \in Callers : thr[t].late /\ Pc(t) \in {"park", "asked"} => IsReady(thr[t])

\* A cancellation goes on, always (RUN-7, RUN-12).
Obeys == \A t \in Callers : Pc(t) = "done" /\ thr[t].cancelled => thr[t].end = "cancelled"

\* Who closed the pool, and waited for that, finds all of it closed.
Closes ==
    \A t \in Callers :
        Pc(t) = "done" /\ thr[t].end = "over" /\ Program(t) = <<"shutdown">> /\ Comes(t) =>
            1..made \subseteq finished \cup dropped \cup parents

\* Some note or job is left, and nobody knows (RUN-4, RUN-7).
NothingLost ==
    /\ \A t \in Callers : Pc(t) = "done" => ~thr[t].alarm
    /\ IsOver /\ era # "closed" =>
        /\ inbox = <<>> /\ cells = {} /\ jobs = {} /\ busy = {} /\ closing = {}
        /\ pool.in_use = {} /\ pool.waiters = {} /\ Opening(pool) = 0
        /\ (1..made) \ (finished \cup dropped \cup parents) =
             {pool.idle[i].entry.connection : i \in DOMAIN pool.idle}

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
            \/ event.name = "Tick"       /\ Tick
            \/ event.name = "Forked"     /\ Forked
            \/ event.name = "Pass"       /\ Pass ]_Pools

=============================================================================
