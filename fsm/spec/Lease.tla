------------------------------- MODULE Lease -------------------------------
(* The lease core of one budget: slices, forwarded draws, settlement, give-back,
   consolidation, and crashes between any two steps. Every call is for one unit.
   It checks the two promises: Promise1, nothing is overspent, and Promise2, no
   refusal without proof. README.md says how to run it and what it has found.

   What travels may be lost, doubled and reordered: a message is never taken out
   of its set, so it may arrive at any time, any number of times, or never.
   The log is a sequence of states; log[at[n]] is what node n's replica shows.

   Not here: several budgets in one call, time, dead nodes, changed limits, and
   credit (what a reply tells before the replica does).                       *)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS Nodes, Limit, Shares,
          MaxCalls, MaxLog, MaxBoot, MaxReleases, \* bounds of what is explored
          Bug                                     \* "none", or a rule to leave out

None == "none"
VARIABLES log,       \* replicated: used, settled, lease, holder, gen, acks, boot, seen
          at,        \* [node -> index its replica has applied]
          boot,      \* [node -> number of its session, durable]
          held,      \* [node -> calls held on its lease]: the journal, restored after a crash
          out,       \* [node -> releases it has sent and not seen applied]: lost in a crash
          sent,      \* every release ever sent
          finals,    \* [node -> generation for which it has said "final"]
          calls,     \* [node -> how many calls it has admitted]
          admitted, cancelled, \* calls
          returned,  \* cancelled calls whose callers have been told that the room is free
          accepted,  \* calls whose event stands in an outbox, durable
          wrong      \* somebody was refused though there was room
vars == <<log, at, boot, held, out, sent, finals, calls, admitted, cancelled, returned, accepted, wrong>>

RECURSIVE Sum(_, _)
Sum(f, S) == IF S = {} THEN 0 ELSE LET x == CHOOSE x \in S : TRUE IN f[x] + Sum(f, S \ {x})
Max(a, b) == IF a > b THEN a ELSE b
Amounts(rs) == Sum([r \in rs |-> r.amount], rs)

Now     == log[Len(log)]
View(n) == log[at[n]]
Free(s) == Limit - s.used - Sum(s.lease, Nodes)
Ready(n) == Bug = "no boot barrier" \/ View(n).boot[n] = boot[n]
Avail(n) == View(n).lease[n] - Cardinality(held[n]) - Amounts(out[n])
MayGive(n) == Ready(n) /\ View(n).holder \in {None, n} /\ Avail(n) >= 1

Commit(s) == s # Now /\ log' = Append(log, s)

Init == /\ log = <<[used |-> 0, settled |-> {}, lease |-> [n \in Nodes |-> Limit \div (2 * Shares)],
                    holder |-> None, gen |-> 0, acks |-> {}, boot |-> [n \in Nodes |-> 1], seen |-> {}]>>
        /\ at = [n \in Nodes |-> 1] /\ boot = [n \in Nodes |-> 1]
        /\ held = [n \in Nodes |-> {}] /\ out = [n \in Nodes |-> {}] /\ sent = {}
        /\ finals = [n \in Nodes |-> 0] /\ calls = [n \in Nodes |-> 0]
        /\ admitted = {} /\ cancelled = {} /\ returned = {} /\ accepted = {} /\ wrong = FALSE

(* N1, N3, N6: node n admits a call on its own lease, or forwards the draw to the
   holder d, which journals it before it says ok. *)
Admit(n, d) ==
  LET c == [origin |-> n, no |-> calls[n] + 1, on |-> d] IN
  /\ Ready(n) /\ MayGive(d) /\ (d = n \/ View(n).holder = d)
  /\ calls' = [calls EXCEPT ![n] = @ + 1]
  /\ held' = [held EXCEPT ![d] = @ \cup {c}] /\ admitted' = admitted \cup {c}
  /\ UNCHANGED <<log, at, boot, out, sent, finals, cancelled, returned, accepted, wrong>>

(* The caller reports what it used: the event is durable in an outbox. *)
Accept(c) ==
  /\ c \notin accepted \cup cancelled /\ accepted' = accepted \cup {c}
  /\ UNCHANGED <<log, at, boot, held, out, sent, finals, calls, admitted, cancelled, returned, wrong>>

(* R2: it is settled, once, however often it arrives. *)
Settle(c) ==
  /\ c \in accepted /\ (c \notin Now.settled \/ Bug = "no event dedup")
  /\ Commit([Now EXCEPT !.used = @ + 1, !.settled = @ \cup {c}, !.lease[c.on] = Max(0, @ - 1)])
  /\ UNCHANGED <<at, boot, held, out, sent, finals, calls, admitted, cancelled, returned, accepted, wrong>>

(* The call is given up at its origin, which tells the node it was drawn on. *)
Cancel(c) ==
  /\ c \notin accepted \cup cancelled /\ cancelled' = cancelled \cup {c}
  /\ held' = IF c.on = c.origin THEN [held EXCEPT ![c.on] = @ \ {c}] ELSE held
  /\ UNCHANGED <<log, at, boot, out, sent, finals, calls, admitted, returned, accepted, wrong>>
CancelArrives(c) ==
  /\ c \in cancelled /\ c \in held[c.on] /\ held' = [held EXCEPT ![c.on] = @ \ {c}]
  /\ UNCHANGED <<log, at, boot, out, sent, finals, calls, admitted, cancelled, returned, accepted, wrong>>

(* The caller is told that the room is free: once it is where the holder sees it. *)
Return(c) ==
  LET d == c.on  h == View(d).holder IN
  /\ c \in cancelled \ returned /\ c \notin held[d] /\ returned' = returned \cup {c}
  /\ \/ h \in {None, d} \/ Bug = "tell before it is room"
     \/ Ready(d) /\ out[d] = {} /\ Avail(d) <= 0 /\ \A n \in Nodes : n = h => at[n] >= at[d]
  /\ UNCHANGED <<log, at, boot, held, out, sent, finals, calls, admitted, cancelled, accepted, wrong>>

(* N9, N10, N12: give back, subtracted before it is sent. Under another holder all there
   is, the first time in a generation as final: once nothing else is on its way. *)
GiveBack(n, a) ==
  LET v == View(n)  other == v.holder \notin {None, n}  final == other /\ finals[n] # v.gen
      r == [node |-> n, boot |-> boot[n], no |-> Cardinality({x \in sent : x.node = n}) + 1,
            amount |-> a, final |-> final, gen |-> v.gen] IN
  /\ Ready(n) /\ a <= Avail(n) /\ (other => a = Max(0, Avail(n))) /\ (a > 0 \/ final)
  /\ final => out[n] = {} \/ Bug = "final too soon"
  /\ out' = [out EXCEPT ![n] = IF Bug = "count a release late" THEN @ ELSE @ \cup {r}]
  /\ sent' = sent \cup {r} /\ finals' = IF final THEN [finals EXCEPT ![n] = v.gen] ELSE finals
  /\ UNCHANGED <<log, at, boot, held, calls, admitted, cancelled, returned, accepted, wrong>>

(* R3: applied once, and only of the node's present session. *)
Release(r) ==
  /\ r \notin Now.seen \/ Bug = "no release dedup"
  /\ r.boot = Now.boot[r.node] \/ Bug = "no session fence"
  /\ Commit([Now EXCEPT !.lease[r.node] = Max(0, @ - r.amount), !.seen = @ \cup {r},
       !.acks = IF r.final /\ (r.gen = Now.gen \/ Bug = "no generation") /\ Now.holder # None THEN @ \cup {r.node} ELSE @])
  /\ UNCHANGED <<at, boot, held, out, sent, finals, calls, admitted, cancelled, returned, accepted, wrong>>

(* R1: an ask, of a holder or while nobody holds; what is granted is free. *)
Grant(n, g) ==
  /\ Now.boot[n] = boot[n] /\ Now.holder \in {None, n} /\ g <= Free(Now)
  /\ Commit([Now EXCEPT !.lease[n] = @ + g])
  /\ UNCHANGED <<at, boot, held, out, sent, finals, calls, admitted, cancelled, returned, accepted, wrong>>

(* An ask was short: node h holds the rest from here on. And back. *)
Consolidate(h, g) ==
  /\ Now.holder = None /\ Free(Now) < Limit \div 2 /\ g <= Max(0, Free(Now))
  /\ Commit([Now EXCEPT !.holder = h, !.gen = @ + 1, !.lease[h] = @ + g,
       !.acks = {h} \cup {n \in Nodes : Now.lease[n] = 0}])
  /\ UNCHANGED <<at, boot, held, out, sent, finals, calls, admitted, cancelled, returned, accepted, wrong>>
Exit(h) ==
  /\ Now.holder = h /\ View(h).gen = Now.gen /\ Limit - Now.used >= 2
  /\ Commit([Now EXCEPT !.holder = None, !.gen = @ + 1, !.acks = {}])
  /\ UNCHANGED <<at, boot, held, out, sent, finals, calls, admitted, cancelled, returned, accepted, wrong>>

(* The replica of n shows the next entry; what it settles or takes is over. *)
Apply(n) ==
  /\ at[n] < Len(log) /\ at' = [at EXCEPT ![n] = @ + 1]
  /\ held' = [held EXCEPT ![n] = @ \ log[at[n] + 1].settled]
  /\ out'  = [out EXCEPT ![n] = @ \ log[at[n] + 1].seen]
  /\ UNCHANGED <<log, boot, sent, finals, calls, admitted, cancelled, returned, accepted, wrong>>

(* N13: a crash forgets which releases are under way and keeps what is durable. *)
Crash(n) ==
  /\ boot' = [boot EXCEPT ![n] = @ + 1] /\ out' = [out EXCEPT ![n] = {}] /\ finals' = [finals EXCEPT ![n] = 0]
  /\ held' = [held EXCEPT ![n] = IF Bug = "forget draws" THEN {c \in @ : c.origin = n} ELSE @]
  /\ UNCHANGED <<log, at, sent, calls, admitted, cancelled, returned, accepted, wrong>>
Boot(n) ==
  /\ Commit([Now EXCEPT !.boot[n] = boot[n]])
  /\ UNCHANGED <<at, boot, held, out, sent, finals, calls, admitted, cancelled, returned, accepted, wrong>>

(* N5: the holder refuses, on the proof that its own room and what is free are all there is. *)
Refuse(h) ==
  /\ Ready(h) /\ View(h).holder = h /\ Free(View(h)) + Avail(h) + Amounts(out[h]) < 1
  /\ \A n \in Nodes : n \in View(h).acks \/ View(h).lease[n] = 0 \/ Bug = "refuse without acknowledgements"
  /\ wrong' = (wrong \/ Cardinality(admitted \ returned) < Limit)
  /\ UNCHANGED <<log, at, boot, held, out, sent, finals, calls, admitted, cancelled, returned, accepted>>

Next == \/ \E n, d \in Nodes : Admit(n, d)
        \/ \E c \in admitted : Accept(c) \/ Settle(c) \/ Cancel(c) \/ CancelArrives(c) \/ Return(c)
        \/ \E n \in Nodes : \E a \in 0..Limit : GiveBack(n, a) \/ (a > 0 /\ Grant(n, a)) \/ Consolidate(n, a)
        \/ \E r \in sent : Release(r)
        \/ \E n \in Nodes : Exit(n) \/ Apply(n) \/ Crash(n) \/ Boot(n) \/ Refuse(n)
Spec == Init /\ [][Next]_vars

Bounds == /\ Len(log) <= MaxLog /\ Cardinality(sent) <= MaxReleases
          /\ \A n \in Nodes : calls[n] <= MaxCalls /\ boot[n] <= MaxBoot

Alike == Permutations(Nodes) \* nodes differ in name only

Inv1     == \A i \in 1..Len(log) : log[i].used + Sum(log[i].lease, Nodes) <= Limit
Inv2     == \A n \in Nodes : Ready(n) => Avail(n) >= 0
Promise1 == Cardinality(admitted \ cancelled) <= Limit /\ Now.used <= Cardinality(admitted)
Promise2 == ~wrong
=============================================================================
