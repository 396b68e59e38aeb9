"""Executable model of the membership rules (docs/PROTOCOL.md, "Membership"): small, slow and literal.

It knows no bytes and no keys: a record is a dictionary, an id is a number. It checks its own invariants on random
histories and prints each history with the state it expects, one JSON object a line, for the implementation to compare:

    membership_model.py COUNT SEED [WORKERS]

Standard library only.
"""

import heapq
import json
import multiprocessing
import random
import sys

OWNER, ADMIN, EDITOR, READER = range(4)
NORMAL, RECOVERY, ARCHIVE = range(3)
FOUNDER = 1
# What changes who may do what. Everything else is only judged by it.
AUTHORITY = {"genesis", "member_add", "device_add", "device_remove", "member_remove", "role_set", "invite",
             "invite_revoke", "join"}
# What stands for ever if it was good in its own past, so that nobody loses a key that people wrote under.
LASTING = {"epoch", "key_grant"}


def class_of(role):
    return {OWNER: 1, ADMIN: 2}.get(role, 3)


def bits(mask):
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class State:
    """What a set of records says about authority."""

    def __init__(self):
        self.members = {}   # member -> (role, rank)
        self.devices = {}   # device -> dict(member, kind, hpke, live, since, removers)
        self.claims = {}    # device -> what it was claimed as, also by an admission that fell
        self.invites = {}   # record -> dict(uses, revoked)
        self.joins = {}     # record -> admitted by itself
        self.nodes = []
        self.reasons = {}   # record -> why the pass left it out
        self.effective = set()

    def owners(self):
        return [m for m, (role, _) in self.members.items() if role == OWNER]

    def in_force(self, device):
        found = self.devices.get(device)
        return found if found and found["live"] else None

    def readers(self):
        return sorted(d for d, found in self.devices.items() if found["live"])


class Space:
    """A history: records sorted by (depth, id), pasts as bit masks, and every record's verdict in its own past."""

    def __init__(self, records):
        depth, by_id = {}, {r["id"]: r for r in records}

        def depth_of(r):
            if r["id"] not in depth:
                depth[r["id"]] = 1 + max((depth_of(by_id[p]) for p in r["parents"]), default=-1)
            return depth[r["id"]]

        for r in records:
            depth_of(r)
        self.r = sorted(records, key=lambda r: (depth[r["id"]], r["id"]))
        self.depth = [depth[r["id"]] for r in self.r]
        at = {r["id"]: i for i, r in enumerate(self.r)}
        self.at = at
        self.past = []
        for r in self.r:
            mask = 0
            for p in r["parents"]:
                mask |= self.past[at[p]] | 1 << at[p]
            self.past.append(mask)
        self.own = []        # None, or the reason for which a record is void in its own past
        self.fact = []       # what its own past says that the pass needs
        self.relevant = 0
        self.memo = {}
        for i in range(len(self.r)):
            state = self.state(self.past[i])
            self.fact.append({})
            self.own.append(self.check(state, i))
            if self.own[i] is None and self.r[i]["type"] in AUTHORITY:
                self.relevant |= 1 << i

    def saw(self, later, earlier):
        return self.past[later] >> earlier & 1

    def state(self, mask):
        mask &= self.relevant
        if mask not in self.memo:
            self.memo[mask] = self.settle(mask) if mask else State()
        return self.memo[mask]

    # --- one record in its own past -------------------------------------------------------------------------------

    def check(self, s, i):
        r = self.r[i]
        kind = r["type"]
        if kind == "genesis":
            return None
        if kind == "join":
            return self.check_join(s, i)
        author = s.in_force(r["author"])
        if author is None:
            return "AuthorRemoved" if r["author"] in s.devices else "NotEnrolled"
        member, device_kind = author["member"], author["kind"]
        role, rank = s.members[member][0], author["rank"]
        own_rank = rank == s.members[member][1]     # not a device that was enrolled beside a promotion
        self.fact[i].update(member=member, kind=device_kind, rank=rank)
        if kind == "unknown":
            return "UnknownType"
        full = device_kind == NORMAL or device_kind == RECOVERY and member == FOUNDER
        admin, owner = full and role <= ADMIN, full and role == OWNER
        writer = role <= EDITOR and device_kind != RECOVERY
        sole = s.owners() == [member]

        def reach(other, other_rank):
            if not (owner if s.members[other][0] == OWNER else admin):
                return "NoAuthority"
            return None if other_rank > rank else "Seniority"

        target = r.get("member") if kind != "device_remove" else s.devices.get(r["device"], {}).get("member")
        self.fact[i].update(reaches_owner=target in s.members and s.members[target][0] == OWNER)

        if kind == "member_add":
            if not (owner if r["role"] <= ADMIN else admin):
                return "NoAuthority"
            if r["member"] in s.members:
                return "Conflict"
            return self.check_fresh(s, r["member"], r["devices"])
        if kind == "device_add":
            if r["member"] not in s.members:
                return "NoAuthority"
            if r["member"] == member:
                if device_kind == ARCHIVE:
                    return "NoAuthority"
            else:
                stop = reach(r["member"], s.members[r["member"]][1])
                if stop:
                    return stop
            if not {epoch for epoch, _ in r["grants"]} <= {self.r[e]["id"] for e in self.epochs(self.past[i])}:
                return "Conflict"
            if any(device != r["device"]["sign"] for _, device in r["grants"]):
                return "Recipients"
            return self.check_fresh(s, r["member"], [r["device"]])
        if kind == "device_remove":
            target = s.in_force(r["device"])
            if target is None:
                return "Conflict"
            of = target["member"]
            self.fact[i].update(target=of, target_rank=target["rank"])
            if of != member:
                stop = reach(of, target["rank"])
                if stop:
                    return stop
            elif device_kind == ARCHIVE and r["device"] != r["author"]:
                return "NoAuthority"
            elif target["rank"] < rank:
                return "Seniority"
            last = of == member and sum(d["live"] and d["member"] == of for d in s.devices.values()) == 1
            return "LastOwner" if last else None
        if kind == "member_remove":
            self.fact[i].update(target=r["member"])
            if r["member"] not in s.members:
                return "Conflict"
            if r["member"] == member:
                if not full:
                    return "NoAuthority"
                if not own_rank:
                    return "Seniority"
                return "LastOwner" if sole else None
            self.fact[i].update(target_rank=s.members[r["member"]][1])
            return reach(r["member"], s.members[r["member"]][1])
        if kind == "role_set":
            self.fact[i].update(target=r["member"])
            if r["member"] not in s.members:
                return "Conflict"
            if r["member"] == member:
                if not full or r["role"] < role:
                    return "NoAuthority"
                if not own_rank:
                    return "Seniority"
                return "LastOwner" if sole and r["role"] != OWNER else None
            if not (owner if r["role"] <= ADMIN else admin):
                return "NoAuthority"
            stop = reach(r["member"], s.members[r["member"]][1])
            if stop:
                return stop
            self.fact[i].update(target_rank=s.members[r["member"]][1])
            if class_of(r["role"]) < s.members[r["member"]][1][0]:
                devices = {d: f for d, f in s.devices.items() if f["live"] and f["member"] == r["member"]}
                self.fact[i].update(promoted=devices)
            return None
        if kind == "invite":
            if not admin or r["role"] < EDITOR:
                return "NoAuthority"
            known = not r["auto"] or r["auto"] in (self.r[e]["id"] for e in self.epochs(self.past[i]))
            return None if known and r["uses_max"] else "Conflict"
        if kind == "invite_revoke":
            if not admin:
                return "NoAuthority"
            return None if self.at.get(r["invite"]) in s.invites else "Conflict"
        if kind in ("policy", "close"):
            return None if owner else "NoAuthority"
        if kind == "epoch":
            return self.check_epoch(s, i) if writer else "NoAuthority"
        if kind == "key_grant":
            if not writer:
                return "NoAuthority"
            if r["epoch"] not in (self.r[e]["id"] for e in self.epochs(self.past[i])):
                return "Conflict"
            if len(set(r["seals"])) != len(r["seals"]) or not set(r["seals"]) <= set(s.readers()):
                return "Recipients"
            return None
        if kind == "hpke_refresh":
            if device_kind == RECOVERY:
                return "NoAuthority"
            return "KeyReused" if self.had_hpke(i, r["author"], r["hpke"]) else None
        if kind == "checkpoint":
            return None if writer else "NoAuthority"
        if kind in ("endorse", "object"):
            if device_kind == RECOVERY or (kind == "object" and not writer):
                return "NoAuthority"
            made = self.at.get(r["checkpoint"])
            if made is None or not self.saw(i, made) or self.own[made] or self.r[made]["type"] != "checkpoint":
                return "Conflict"
            return None
        if kind == "fork_proof":
            if device_kind == RECOVERY:
                return "NoAuthority"
            return None if len(set(r["branches"])) == 2 else "Proof"
        raise ValueError(kind)

    def check_join(self, s, i):
        r = self.r[i]
        invite = s.invites.get(self.at.get(r["invite"]))
        if invite is None or invite["revoked"] or invite["uses"] >= self.r[self.at[r["invite"]]]["uses_max"]:
            return "Invite"
        if not any(d["sign"] == r["author"] and d["kind"] == NORMAL for d in r["devices"]):
            return "NoAuthority"
        if r["member"] in s.members:
            return "Conflict"
        return self.check_fresh(s, r["member"], r["devices"])

    def had_hpke(self, i, device, hpke):
        """Whether a record that is good in its own past, and lies in this one's, names the key for this device. Between
        devices nothing is compared: a public key that somebody else names, too, opens nothing for them."""
        for j in bits(self.past[i]):
            if self.own[j] is None:
                known = [(d["sign"], d["hpke"]) for d in devices_of(self.r[j])] + [(self.r[j]["author"], self.r[j].get("hpke"))]
                if (device, hpke) in known:
                    return True
        return False

    def check_fresh(self, s, member, devices):
        signs, hpkes = [d["sign"] for d in devices], [d["hpke"] for d in devices]
        if len(set(signs)) < len(signs) or len(set(hpkes)) < len(hpkes):
            return "KeyReused"
        says = {d["sign"]: (member, d["hpke"], d["kind"]) for d in devices}
        known = any(sign in s.devices or s.claims.get(sign, what) != what for sign, what in says.items())
        return "KeyReused" if known else None

    def epochs(self, mask):
        return [j for j in bits(mask) if self.r[j]["type"] == "epoch" and self.own[j] is None]

    def epoch_heads(self, mask):
        valid = self.epochs(mask)
        named = {p for j in valid for p in self.r[j]["parents_epochs"]}
        return {self.r[j]["id"]: j for j in valid if self.r[j]["id"] not in named}

    def check_epoch(self, s, i):
        r = self.r[i]
        heads = self.epoch_heads(self.past[i])
        if sorted(r["parents_epochs"]) != sorted(heads):
            return "Conflict"
        if r["generation"] != 1 + max((self.r[j]["generation"] for j in heads.values()), default=0):
            return "Conflict"
        return None if sorted(r["seals"]) == s.readers() else "Recipients"

    # --- many records: the pass by seniority ----------------------------------------------------------------------

    def rank(self, g):
        r = self.r[g]
        if r["type"] == "genesis":
            return (0, 0, r["id"])
        role = self.r[self.at[r["invite"]]]["role"] if r["type"] == "join" else r["role"]
        return (class_of(role), self.depth[g], r["id"])

    def settle(self, mask):
        """The pass; once more if the last Owners left without knowing of each other: the most junior of those stays
        who is an Owner then. Whoever was also admitted with less at the same time may not be."""
        state = Pass(self, mask, frozenset()).run()
        leavers = {n.member: n.rank for n in sorted(state.nodes, key=lambda n: n.rank) if n.may_stay_owner}
        for stays in sorted(leavers, key=leavers.get, reverse=True):
            if state.owners():
                break
            own = (i for i in bits(mask) if self.own[i] is None and (
                self.r[i]["type"] == "member_remove" or self.r[i]["type"] == "role_set" and self.r[i]["role"] != OWNER))
            kept = frozenset(i for i in own if self.fact[i]["member"] == self.fact[i]["target"] == stays)
            state = Pass(self, mask, kept).run()
        assert state.owners(), "the last Owner is gone"
        return state


def devices_of(r):
    kind = r["type"]
    if kind == "genesis" or kind in ("member_add", "join"):
        return r["devices"]
    return [r["device"]] if kind == "device_add" else []


class Node:
    """One grant: an admission, or a promotion to a higher class. It vouches for its devices as its author saw them."""

    def __init__(self, g, member, rank, devices):
        self.g, self.member, self.rank, self.devices = g, member, rank, devices
        self.support = {}       # device -> records that enrol it through this node
        self.roles = []         # role records that apply
        self.removers = []      # member removals that apply
        self.device_removers = {}
        self.departures = []
        self.may_stay_owner = False


class Pass:
    def __init__(self, space, mask, kept):
        self.h, self.mask, self.kept = space, mask, kept
        self.s = State()
        self.queue, self.popped = [], set()
        self.member_hits, self.device_hits, self.role_sets = {}, {}, {}
        self.added, self.revokes, self.claims, self.invites = {}, {}, {}, {}
        self.records_of, self.grants, self.removes, self.joins = {}, {}, {}, {}
        for i in bits(mask):
            r = space.r[i]
            if space.own[i] is not None or r["type"] in LASTING:
                continue
            kind = r["type"]
            if kind in ("genesis", "member_add", "join") or "promoted" in space.fact[i]:
                self.grants.setdefault(r["member"], []).append(i)
            if kind == "member_remove":
                self.removes.setdefault(r["member"], []).append(i)
            if kind == "join":
                self.joins.setdefault(space.at[r["invite"]], []).append(i)
            elif kind != "genesis":
                self.records_of.setdefault(space.fact[i]["member"], []).append(i)

    def run(self):
        self.effective(0)
        self.push(0)
        while self.queue:
            _, g = heapq.heappop(self.queue)
            self.popped.add(g)
            if self.h.r[g]["type"] != "join" or self.take_join(g):
                self.pop(g)
        self.finish()
        return self.s

    def effective(self, i):
        self.s.effective.add(i)
        self.s.reasons.pop(i, None)

    def void(self, i, reason):
        self.s.effective.discard(i)
        self.s.reasons[i] = reason

    def push(self, g):
        heapq.heappush(self.queue, (self.h.rank(g), g))

    def take_join(self, j):
        invite = self.h.at[self.h.r[j]["invite"]]
        if any(not self.h.saw(x, j) for x in self.revokes.get(invite, [])):
            self.void(j, "Invite")
            return False
        # Its number was looked at in this join's own past: what others ask for beside it puts nobody out.
        auto = self.h.r[invite]["auto"]
        if auto and not self.claim(j, self.h.r[j]["member"]):
            self.void(j, "KeyReused")
            return False
        self.invites[invite] += 1
        self.effective(j)
        self.s.joins[j] = bool(auto)
        return bool(auto)

    def claim(self, i, member):
        says = {d["sign"]: (member, d["hpke"], d["kind"]) for d in devices_of(self.h.r[i])}
        if any(self.claims.get(sign, what) != what for sign, what in says.items()):
            return False
        self.claims.update(says)
        return True

    def pop(self, g):
        h, r = self.h, self.h.r[g]
        m = r["member"]
        hits = [x for x in self.member_hits.get(m, []) if not h.saw(g, x)]
        if any(not h.saw(x, g) for x in hits):
            self.void(g, "AuthorRemoved")   # granted by somebody who did not know of a removal
            return
        if r["type"] == "role_set":
            devices, hpkes = {}, {}
            for d, f in h.fact[g]["promoted"].items():
                what = (m, f["hpke"], f["kind"])
                if self.claims.setdefault(d, what) == what:     # unless somebody more senior gave the key away
                    devices[d], hpkes[d] = (f["kind"], f["since"]), f["hpke"]
        else:
            devices = {d["sign"]: (d["kind"], g) for d in r["devices"]}
            hpkes = {d["sign"]: d["hpke"] for d in r["devices"]}
        node = Node(g, m, h.rank(g), devices)
        kinds = {d: kind for d, (kind, _) in devices.items()}
        since = {d: since for d, (_, since) in devices.items()}
        own = [i for i in self.records_of.get(m, []) if i not in self.s.effective and h.saw(i, g)]
        removals = {"device": {}, "member": []}     # within this member

        def is_hit(i):
            by_member = hits + removals["member"]
            device = h.r[i]["author"]
            by_device = self.device_hits.get(device, []) + removals["device"].get(device, [])
            return any(x != i and not h.saw(x, i) for x in by_member + by_device)

        def supported(i, support):
            return any(e == g or h.saw(i, e) for e in support.get(h.r[i]["author"], []))

        def supports():
            support = {d: [g] for d in devices}
            for e in self.added.get(m, []):
                if h.saw(e, g):
                    support.setdefault(h.r[e]["device"]["sign"], []).append(e)
            claims = {}
            for e in own:
                add = h.r[e]
                if add["type"] != "device_add" or add["member"] != m or not supported(e, support) or is_hit(e):
                    continue
                sign, what = add["device"]["sign"], (m, add["device"]["hpke"], add["device"]["kind"])
                if self.claims.get(sign, claims.get(sign, what)) != what:
                    continue
                claims[sign] = what
                support.setdefault(sign, []).append(e)
            return support

        def learn(support):
            for d, records in support.items():
                for e in records:
                    if e != g:
                        kinds.setdefault(d, h.r[e]["device"]["kind"])
                        hpkes.setdefault(d, h.r[e]["device"]["hpke"])
                        since[d] = min(since.get(d, e), e)

        support = supports()
        learn(support)
        inner = [i for i in own if h.r[i]["type"] in ("device_remove", "member_remove") and h.fact[i]["target"] == m
                 and h.r[i]["author"] in since]
        inner.sort(key=lambda i: (kinds[h.r[i]["author"]] != RECOVERY, since[h.r[i]["author"]], h.r[i]["author"], i))
        for x in inner:
            if x in self.kept:
                self.void(x, "LastOwner")
                node.departures.append(x)
                continue
            if not supported(x, support) or is_hit(x):
                continue
            if h.r[x]["type"] == "device_remove":
                removals["device"].setdefault(h.r[x]["device"], []).append(x)
            else:
                removals["member"].append(x)
                node.departures.append(x)
            support = supports()
            self.effective(x)
        # What fell enrolled nobody: look again.
        kinds = {d: kind for d, (kind, _) in devices.items()}
        since = {d: first for d, (_, first) in devices.items()}
        hpkes = {d: key for d, key in hpkes.items() if d in devices}
        learn(support)

        for d, records in support.items():
            for e in records:
                if e != g and e in own:
                    self.effective(e)
                    self.claim(e, m)
        self.node_members = self.s.nodes + [node]
        node.support, node.removers = support, hits + removals["member"]
        node.kinds, node.since, node.hpkes = kinds, since, hpkes
        for i in own:
            if i in self.s.effective or i in inner or h.r[i]["type"] == "device_add" and h.r[i]["member"] == m:
                continue
            if not supported(i, support) or is_hit(i):
                continue
            self.decide(i, node)
        node.device_removers = {d: self.device_hits.get(d, []) + removals["device"].get(d, []) for d in support}
        for d, records in removals["device"].items():
            self.device_hits.setdefault(d, []).extend(records)
        self.member_hits.setdefault(m, []).extend(removals["member"])
        node.roles = self.applied(node)
        self.s.nodes.append(node)

    def applied(self, node):
        """Role records that this node's author had not seen, and that speak of this stay of the member."""
        h, left = self.h, [x for x in self.removes.get(node.member, []) if self.h.saw(node.g, x)]
        return [x for x in self.role_sets.get(node.member, [])
                if not h.saw(node.g, x) and all(h.saw(x, y) for y in left)]

    def role_of(self, records):
        """The lowest privilege among those that no other of them has seen."""
        h = self.h
        heads = [x for x in records if not any(h.saw(y, x) for y in records)]
        return max(OWNER if h.r[x]["type"] == "genesis" else h.r[h.at[h.r[x]["invite"]]]["role"]
                   if h.r[x]["type"] == "join" else h.r[x]["role"] for x in heads)

    def role_at(self, i, node):
        """As in the end: role records count that apply to the most senior grant in force, all as the record saw it."""
        known = [n for n in self.node_members if n.member == node.member and self.h.saw(i, n.g)
                 and not any(self.h.saw(i, x) for x in n.removers)]
        top = min(known + [node], key=lambda n: n.rank)
        sets = self.applied(node) if top is node else top.roles
        return self.role_of({node.g} | {n.g for n in known} | {x for x in sets if self.h.saw(i, x)})

    def decide(self, i, node):
        """A record of a popped node that nothing hits."""
        h, r = self.h, self.h.r[i]
        kind, needed, m = r["type"], READER, node.member
        other = h.fact[i].get("target", r.get("member")) != m
        if kind == "member_add" or kind == "role_set" and other:
            needed = OWNER if r["role"] <= ADMIN else ADMIN
        elif kind in ("invite", "invite_revoke") or kind in ("device_add", "device_remove", "member_remove") and other:
            needed = ADMIN
        elif kind in ("policy", "close"):
            needed = OWNER
        if h.fact[i]["reaches_owner"] and other and kind in ("device_add", "device_remove", "member_remove", "role_set"):
            needed = OWNER
        elif kind in ("checkpoint", "object"):
            needed = EDITOR
        demoted = any(h.r[x]["role"] > needed and not h.saw(x, i) and not h.saw(i, x) and h.fact[x]["member"] != m
                      for x in self.applied(node))
        if demoted or self.role_at(i, node) > needed:
            return self.void(i, "AuthorRemoved")
        if kind in ("device_add", "device_remove", "member_remove", "role_set") and other:
            target = h.fact[i].get("target", r.get("member"))
            if all(g in self.popped or not h.saw(i, g) for g in self.grants.get(target, [])):
                return self.void(i, "Seniority")
        if kind == "member_add" and any(n.member == r["member"] and not n.removers and n.rank < node.rank
                                        and not h.saw(n.g, i) for n in self.s.nodes):
            return self.void(i, "Seniority")    # nobody admits a more senior member again, with less
        if kind == "role_set" and not other and i in self.kept:
            node.departures.append(i)
            return self.void(i, "LastOwner")
        if kind == "member_add" or kind == "device_add":
            if not self.claim(i, r["member"]):
                return self.void(i, "KeyReused")
        self.effective(i)
        if kind == "member_add":
            self.push(i)
        elif kind == "device_add":
            self.added.setdefault(r["member"], []).append(i)
        elif kind == "device_remove":
            self.device_hits.setdefault(r["device"], []).append(i)
        elif kind == "member_remove":
            self.member_hits.setdefault(r["member"], []).append(i)
        elif kind == "role_set":
            self.role_sets.setdefault(r["member"], []).append(i)
            if "promoted" in h.fact[i]:
                self.push(i)
            if not other:
                node.departures.append(i)
        elif kind == "invite":
            self.invites[i] = 0
            for j in self.joins.get(i, []):
                self.push(j)
        elif kind == "invite_revoke":
            self.revokes.setdefault(h.at[r["invite"]], []).append(i)
        return None

    def finish(self):
        s, h = self.s, self.h
        s.claims = self.claims
        for member in {n.member for n in s.nodes}:
            live = sorted((n for n in s.nodes if n.member == member and not n.removers), key=lambda n: n.rank)
            if live:
                role = self.role_of({n.g for n in live} | set(live[0].roles))
                s.members[member] = (role, live[0].rank)
        for n in s.nodes:
            if n.departures:
                self.mark_departed(n)
            for d in n.support:
                known = s.devices.setdefault(d, {"member": n.member, "kind": n.kinds[d], "hpke": n.hpkes[d], "live": False,
                                                 "since": n.since[d], "removers": set(), "rank": None})
                known["since"] = min(known["since"], n.since[d])
                removers = n.removers + n.device_removers[d]
                if not removers:
                    known["rank"] = min(known["rank"] or n.rank, n.rank)
                known["live"] |= not removers
                known["removers"] |= set(removers)
        for i, uses in self.invites.items():
            s.invites[i] = {"uses": uses, "revoked": bool(self.revokes.get(i))}

    def mark_departed(self, n):
        """Whether this member would be an Owner still, had it not left or stepped down."""
        h = self.h
        left = [x for x in n.removers if x not in n.departures]
        if left or self.kept:
            return
        nodes = [o for o in self.s.nodes if o.member == n.member and not [x for x in o.removers if x not in o.departures]]
        top = min(nodes, key=lambda o: o.rank)
        if top is not n:
            return
        roles = [x for x in n.roles if h.fact[x]["member"] != n.member]
        n.may_stay_owner = self.role_of({o.g for o in nodes} | set(roles)) == OWNER


# --- the whole state, as an implementation shows it -----------------------------------------------------------------

def whole(records):
    h = Space(records)
    everything = (1 << len(h.r)) - 1
    s = h.settle(everything)
    ids = lambda xs: sorted(h.r[x]["id"] for x in xs)
    void = {}
    for i, r in enumerate(h.r):
        if h.own[i] is not None:
            void[r["id"]] = h.own[i]
        elif r["type"] not in LASTING and i not in s.effective:
            void[r["id"]] = s.reasons.get(i, "AuthorRemoved")
    devices = {}
    for d, f in s.devices.items():
        hpke = f["hpke"]
        fresh = [i for i in s.effective if h.r[i]["type"] == "hpke_refresh" and h.r[i]["author"] == d]
        if fresh:
            hpke = h.r[max(fresh)]["hpke"]
        role = s.members.get(f["member"], (None,))[0]
        cuts = None
        nodes = [n for n in s.nodes if n.member == f["member"] and d in n.support]
        binding = []
        if not f["live"]:
            binding = list(f["removers"])
        elif role == READER:
            binding = [x for n in nodes for x in n.roles if h.r[x]["role"] == READER]
        if not f["live"] or role == READER:
            cuts = {}
            for x in set(binding):
                for stream, seq, env in h.r[x]["cuts"]:
                    cuts[stream] = max(cuts.get(stream, (0, 0)), (seq, env))
        def wrote(n):
            roles = [n.g] + n.roles
            return any((h.r[x]["type"] == "genesis" or (h.r[h.at[h.r[x]["invite"]]]["role"] if h.r[x]["type"] == "join"
                        else h.r[x]["role"]) <= EDITOR) for x in roles)
        writer = f["kind"] != RECOVERY and any(wrote(n) for n in nodes)
        devices[d] = {
            "member": f["member"], "kind": f["kind"], "hpke": hpke, "writer": writer,
            "removed_by": 0 if f["live"] else h.r[min(f["removers"])]["id"],
            "added_by": h.r[f["since"]]["id"],
            "cuts": None if cuts is None else sorted([k, *v] for k, v in cuts.items()),
        }
    readers = set(s.readers())
    heads = h.epoch_heads(everything)
    def holders(j):
        """Whoever was given an epoch, with it or afterwards, whatever became of the record that gave it."""
        good = [r for i, r in enumerate(h.r) if h.own[i] is None]
        granted = [(r["epoch"], seal) for r in good if r["type"] == "key_grant" for seal in r["seals"]]
        granted += [grant for r in good if r["type"] == "device_add" for grant in map(tuple, r["grants"])]
        return set(h.r[j]["seals"]).union(device for epoch, device in granted if epoch == h.r[j]["id"])
    clean = [(-h.r[j]["generation"], h.r[j]["id"]) for j in heads.values() if holders(j) <= readers]
    of = lambda kind: [i for i in s.effective if h.r[i]["type"] == kind]
    policies = of("policy")
    top = [i for i in policies if not any(h.saw(j, i) for j in policies)]
    checkpoints = {}
    for i in sorted(s.effective):
        if h.r[i]["type"] == "checkpoint":
            said = [j for j in s.effective if h.r[j].get("checkpoint") == h.r[i]["id"]]
            checkpoints[h.r[i]["id"]] = [
                h.fact[i]["member"],
                sorted({h.r[j]["author"] for j in said if h.r[j]["type"] == "endorse" and s.in_force(h.r[j]["author"])}),
                ids(j for j in said if h.r[j]["type"] == "object" and s.in_force(h.r[j]["author"])),
                standing(h, s, i, said, top)]
    forks = {}
    for i in of("fork_proof"):
        places = forks.setdefault(h.r[i]["device"], {})
        places.setdefault(h.r[i]["seq"], set()).update(h.r[i]["branches"])
    expected = {
        "void": sorted([k, v] for k, v in void.items()),
        "members": sorted([m, role, rank[0], rank[2], sorted(d for d, f in s.devices.items() if f["live"] and f["member"] == m)]
                          for m, (role, rank) in s.members.items()),
        "devices": sorted(([d, f["member"], f["kind"], f["hpke"], f["removed_by"], f["added_by"], int(f["writer"]), f["cuts"]]
                           for d, f in devices.items()), key=lambda x: x[0]),
        "epochs": ids(h.epochs(everything)),
        "epoch_heads": sorted(heads),
        "current": min(clean)[1] if clean else 0,
        "invites": sorted([h.r[i]["id"], f["uses"], int(f["revoked"])] for i, f in s.invites.items()),
        "joins": ids(s.effective.intersection(s.joins)),
        "policy": h.r[min(top)]["id"] if top else 0,
        "checkpoints": sorted([k, *v] for k, v in checkpoints.items()),
        "closed": h.r[min(of("close"))]["id"] if of("close") else 0,
        # Which of the branches counts is for hashes to say.
        "forks": sorted([device, min(places), sorted(places[min(places)])] for device, places in forks.items()),
    }
    return h, s, expected


def standing(h, s, checkpoint, said, policies):
    """How far a checkpoint has come, by what devices in force say of it: blocked, endorsed or proposed."""
    said = [(h.r[j]["type"], h.r[j]["author"]) for j in said if s.in_force(h.r[j]["author"])]
    if any(kind == "object" for kind, _ in said):
        return "blocked"
    maker, member = h.r[checkpoint]["author"], h.fact[checkpoint]["member"]
    hands = {d: f["member"] for d, f in s.devices.items() if f["live"] and f["kind"] != RECOVERY}
    endorsing = {device for kind, device in said if kind == "endorse"}
    others = {m for m in hands.values() if m != member}
    if others:
        needed = h.r[min(policies)]["endorse_k"] if policies else 1
        endorsed = len({hands[d] for d in endorsing} & others) >= min(max(needed, 1), len(others))
    elif any(d != maker for d in hands):
        endorsed = any(d != maker for d in endorsing)
    else:
        endorsed = maker in endorsing
    return "endorsed" if endorsed else "proposed"


def check_invariants(h, s):
    """What must hold whatever the history. Ranks are those at a removal's own past, devices' those of their member."""
    assert s.owners(), "no Owner"
    live = {d for d, f in s.devices.items() if f["live"]}
    assert all(s.devices[d]["member"] in s.members for d in live), "a device without a member"
    for i in s.effective:
        r, f = h.r[i], h.fact[i]
        if i == 0 or r["type"] == "join":
            continue
        # A removal within a member that was settled stays, even if its author fell with a younger one's.
        inner = r["type"] in ("device_remove", "member_remove") and f["target"] == f["member"]
        assert inner or r["author"] in s.devices, "a record with effect by a device that was never enrolled"
        if "target" in f and f["target"] != f["member"]:
            assert "target_rank" not in f or f["rank"] < f["target_rank"], "a junior reached a senior"
        if r["type"] == "device_remove" and f["target"] != f["member"]:
            for j in s.effective:
                o = h.r[j]
                mutual = o["type"] == "device_remove" and o["device"] == r["author"] and o["author"] == r["device"]
                assert not mutual, "mutual removal of devices"
        if r["type"] == "member_remove" and f["target"] != f["member"]:
            for j in s.effective:
                o = h.r[j]
                if o["type"] == "member_remove" and o["member"] == f["member"] and h.fact[j]["member"] == f["target"]:
                    assert h.saw(i, j) or h.saw(j, i), "mutual removal of members"
    # A join that was good when it was made falls with its invite or a key, or by a withdrawal beside it: never by another.
    for i, r in enumerate(h.r):
        if r["type"] == "join" and h.own[i] is None and h.at[r["invite"]] in s.effective and i not in s.effective:
            withdrawn = [j for j in s.effective if h.r[j]["type"] == "invite_revoke" and h.r[j]["invite"] == r["invite"]]
            beside = any(not h.saw(j, i) for j in withdrawn)
            assert beside or s.reasons.get(i) != "Invite", "put out by a join beside it"
    # Whoever had seen everything and was allowed to act has acted: there is nothing beside that could say otherwise.
    for i, r in enumerate(h.r):
        if h.own[i] is None and r["type"] in AUTHORITY:
            assert i in h.state(h.past[i] | 1 << i).effective, "void although it had seen everything"
    # A device that was removed for everybody wrote nothing with effect that its removers had not seen.
    for d, f in s.devices.items():
        if f["live"]:
            continue
        strong = [x for n in s.nodes if d in n.support for x in n.device_removers[d] if h.fact[x]["member"] != f["member"]]
        for x in strong:
            for i in s.effective:
                if h.r[i]["author"] == d and i != 0 and h.r[i]["type"] != "join" and not h.saw(x, i):
                    nodes = [n for n in s.nodes if d in n.support and x not in n.device_removers[d]]
                    assert nodes, "a removed device acted behind its removal"


# --- random histories -------------------------------------------------------------------------------------------------

class Generator:
    def __init__(self, rng):
        self.rng, self.records, self.views, self.next_key = rng, [], {}, 100
        self.bodies = {}
        self.member_pool = [FOUNDER] + list(range(2, 7))
        founder, paper = self.key(NORMAL), self.key(RECOVERY)
        self.known = {founder["sign"]: FOUNDER, paper["sign"]: FOUNDER}
        self.enrolled = [founder["sign"]]
        self.add({"type": "genesis", "author": founder["sign"], "member": FOUNDER, "devices": [founder, paper]}, [])
        self.views = {d: {0} for d in self.known}

    def key(self, kind=NORMAL):
        self.next_key += 1
        return {"sign": self.next_key, "hpke": 1000 + self.next_key, "kind": kind}

    def add(self, body, parents):
        ident = self.rng.randrange(1, 1 << 32)
        self.records.append({"id": ident, "parents": sorted(self.records[p]["id"] for p in parents), **body})
        return len(self.records) - 1

    def closure(self, tips):
        at = {r["id"]: i for i, r in enumerate(self.records)}
        seen, todo = set(), list(tips)
        while todo:
            i = todo.pop()
            if i not in seen:
                seen.add(i)
                todo += [at[p] for p in self.records[i]["parents"]]
        return seen

    def heads(self, view):
        named = {p for i in view for p in self.records[i]["parents"]}
        return [i for i in view if self.records[i]["id"] not in named]

    def cuts(self):
        return [[self.rng.randrange(1, 4), self.rng.randrange(9), self.rng.randrange(1, 9)] for _ in range(self.rng.randrange(3))]

    def step(self, device=None, kind=None):
        rng = self.rng
        device = device or rng.choice(list(self.known)[:2] + self.enrolled + self.enrolled)
        view = self.views.setdefault(device, {0})
        if rng.random() < 0.55:
            other = rng.choice(list(self.views))
            view = view | self.views[other]
        elif rng.random() < 0.4:
            view = set(range(len(self.records)))
        if rng.random() < 0.06 and len(view) > 1:
            view = self.closure([rng.choice(sorted(view))])       # backdated
        parents = self.heads(view)[:16]
        view = self.closure(parents)
        body = self.body(device, view, kind)
        i = self.add(body, parents)
        self.views[body["author"]] = view | {i}
        if body["type"] in ("member_add", "device_add", "join"):
            for key in devices_of(body):
                self.enrolled.append(key["sign"])
                self.views[key["sign"]] = view | {i}

    def rush(self):
        """An invite of the founder's, and more who ask by it than it says, mostly beside one another."""
        founder = self.enrolled[0]
        for kind in ["epoch", "invite"] + ["join"] * self.rng.randrange(2, 5):
            self.step(founder, kind)

    def body(self, device, view, kind):
        rng, mine = self.rng, self.known[device]
        seen = [self.records[i] for i in sorted(view)]
        kind = kind or rng.choice(
            ["member_add"] * 7 + ["device_add"] * 4 + ["device_remove"] * 4 + ["member_remove"] * 4 + ["role_set"] * 6
            + ["epoch"] * 4 + ["invite"] * 2 + ["join"] * 5 + ["invite_revoke", "hpke_refresh", "key_grant", "policy",
                                                              "checkpoint", "endorse", "endorse", "object", "close", "unknown",
                                                              "fork_proof"])
        out = {"type": kind, "author": device}
        present = [r["member"] for r in seen if r["type"] in ("member_add", "join")]
        strange = kind == "member_add" or not present or rng.random() < 0.1
        member = rng.choice(self.member_pool if strange else present)
        reuse = rng.random()
        def new(k):
            key = self.key(k)
            if reuse < 0.1:
                key["sign"] = rng.choice(list(self.known))
            if reuse < 0.15:
                key["hpke"] = 1000 + rng.choice(list(self.known))
            return key
        if kind == "member_add":
            pending = [r for r in seen if r["type"] == "join"]
            if pending and rng.random() < 0.5:
                join = rng.choice(pending)
                out.update(member=join["member"], devices=join["devices"])
            else:
                out.update(member=member, devices=[new(NORMAL)] + ([new(RECOVERY)] if rng.random() < 0.2 else []))
            out.update(role=rng.choice([OWNER, ADMIN, ADMIN, EDITOR, EDITOR, READER]))
        elif kind == "device_add":
            target = mine if rng.random() < 0.75 else member
            key = new(rng.choice([NORMAL, NORMAL, NORMAL, RECOVERY, ARCHIVE]))
            epochs = [r["id"] for r in seen if r["type"] == "epoch"] if rng.random() < 0.95 else [1]
            to = key["sign"] if rng.random() < 0.95 else rng.choice(list(self.known))
            grants = [[epoch, to] for epoch in rng.sample(epochs, min(len(epochs), rng.randrange(3)))]
            out.update(member=target, device=key, grants=grants)
        elif kind == "device_remove":
            own = [d for d, m in self.known.items() if m == mine]
            out.update(device=rng.choice(own if rng.random() < 0.5 else list(self.known)), cuts=self.cuts())
        elif kind == "member_remove":
            out.update(member=mine if rng.random() < 0.2 else member, cuts=self.cuts())
        elif kind == "role_set":
            out.update(member=mine if rng.random() < 0.2 else member, role=rng.randrange(4), cuts=self.cuts())
        elif kind == "epoch":
            out.update(self.epoch(seen))
        elif kind == "key_grant":
            epochs = [r["id"] for r in seen if r["type"] == "epoch"] or [1]
            out.update(epoch=rng.choice(epochs), seals=[rng.choice(list(self.known))])
        elif kind == "fork_proof":
            branches = [rng.randrange(1, 5), rng.randrange(1, 5)]
            out.update(device=rng.choice(list(self.known)), seq=rng.randrange(1, 4), branches=branches)
        elif kind == "hpke_refresh":
            out.update(hpke=self.key()["hpke"] if rng.random() < 0.8 else 1000 + rng.choice(list(self.known)))
        elif kind == "invite":
            epochs = [r["id"] for r in seen if r["type"] == "epoch"]
            out.update(role=rng.choice([ADMIN, EDITOR, EDITOR, READER]), uses_max=rng.choice([0, 1, 1, 2]),
                       auto=rng.choice(epochs) if epochs and rng.random() < 0.7 else 0)
        elif kind == "policy":
            out.update(endorse_k=rng.choice([0, 1, 1, 2]))
        elif kind in ("invite_revoke", "join"):
            invites = [r["id"] for r in seen if r["type"] == "invite"]
            if not invites:
                return {"type": "policy", "author": device, "endorse_k": rng.choice([0, 1, 1, 2])}
            out.update(invite=rng.choice(invites))
            if kind == "join":
                key = new(NORMAL)
                member = rng.choice([member, 2 + len(self.records) % 24])
                out.update(author=key["sign"], member=member, devices=[key])
        elif kind in ("endorse", "object"):
            made = [r["id"] for r in seen if r["type"] == "checkpoint"]
            if not made:
                return {"type": "checkpoint", "author": device}
            out.update(checkpoint=rng.choice(made))
        for key in devices_of(out):
            self.known.setdefault(key["sign"], out["member"])
        return out

    def epoch(self, seen):
        """Mostly what an honest device would make."""
        h = Space(seen)
        mask = (1 << len(seen)) - 1
        heads = h.epoch_heads(mask)
        seals = h.state(mask).readers()
        if seals and self.rng.random() < 0.15:
            seals = self.rng.sample(seals, max(1, len(seals) - 1))
        generation = 1 + max((h.r[j]["generation"] for j in heads.values()), default=0)
        return {"parents_epochs": sorted(heads), "generation": generation, "seals": seals}


def history(seed):
    rng = random.Random(seed)
    generator = Generator(rng)
    while True:
        for _ in range(rng.randrange(4, 24)):
            generator.rush() if rng.random() < 0.02 else generator.step()
        records = generator.records
        if len({r["id"] for r in records}) == len(records):
            break
        generator = Generator(rng)
    rng.shuffle(records)
    h, s, expected = whole(records)
    check_invariants(h, s)
    again = list(records)
    rng.shuffle(again)
    if seed % 16 == 0:
        assert whole(again)[2] == expected, "the order of arrival matters"
    return json.dumps({"seed": seed, "records": records, "expected": expected}, separators=(",", ":"))


def attempt(seed):
    try:
        return history(seed)
    except Exception as error:
        raise RuntimeError(f"seed {seed}") from error


def main():
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    workers = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    seeds = range(seed, seed + count)
    if workers == 1:
        for line in map(attempt, seeds):
            print(line)
        return
    with multiprocessing.Pool(workers) as pool:
        for line in pool.imap(attempt, seeds, 64):
            print(line)


if __name__ == "__main__":
    main()
