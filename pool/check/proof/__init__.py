"""The proof: the invariants hold for any number of callers and connections, and of any limits.

Theory.  The explorer sees every state of small worlds.  Here nothing is small: the numbers of a
state are unknown whole numbers, and a solver is asked, event by event, for a state in which the
invariants hold and after which one does not.  There is none.  With the initial state that is a
proof by induction.

Which connection, which ticket?  One arbitrary key and two arbitrary tickets are followed, as
unknowns too, so what is shown of them is shown of all; no quantifier is needed, and so no
solver has to guess.

| module | what it is |
|---|---|
| `terms` | formulas: given to solvers as text, and to Python as code |
| `picture` | what is kept of a state: counts, one key, two tickets |
| `verbs` | what the rules are written in: grant, refuse, settle, serve |
| `relation` | the rules of the specification, each once, as formulas over pictures |
| `promises` | the invariants, likewise |
| `ranking` | why nobody waits for ever |
| `obligations` | what has to be shown, and by which solver it is |
| `real` | the pictures of a real step |
| `binding` | does the relation say the same of it as `step` does? |
| `witness` | a real state and event of which something is the picture |
| `command` | `purepool prove` |

What it refuses to know: how long anything takes.  Which connections have expired, rested or gone
stale is for the proof a free choice, and so is the clock.
"""
